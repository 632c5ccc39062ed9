/** Reasons: personal data is shown to those who wrote why, for fifteen minutes, and each look is recorded before it. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { LRUCache } from 'lru-cache'
import { z } from 'zod'
import { recordReveal } from '../audit/reveals.ts'
import type { EventStore } from '../eventstore/port.ts'
import { hasAddress, hasWords } from '../runtime/reason-text.ts'
import { Refused } from './errors.ts'
import { actorOf } from './people.ts'
import type { SealedCookies } from './sign-in/sealed-cookies.ts'
import type { Session } from './sign-in/sessions.ts'

const HOLDS_MS = 15 * 60_000
const LONGEST = 200
/** Looks that need not be recorded again. */
const MOST_RECORDED = 10_000

const content = z.object({ session: z.string(), text: z.string(), since: z.number() })

/** Why a person sees personal data now, and until when. */
export interface Reason {
  readonly text: string
  readonly since: Date
  readonly until: Date
}

/** What a person looks at, as the record of it names it. */
export interface Look {
  /** The command that would show the same, without personal data: `history`. */
  readonly command: string
  /** null: data of more than one customer, or, with `emailKeys`, of an address that is no customer's. */
  readonly customerId: number | null
  /** The keyed hashes of the address. */
  readonly emailKeys?: readonly string[]
}

export interface Reasons {
  read(request: FastifyRequest, session: Session): Promise<Reason | undefined>
  /** @throws Refused for a text without words, one with an e-mail address, or one that is too long */
  give(reply: FastifyReply, session: Session, text: string | null): Promise<void>
  end(reply: FastifyReply): void
  /** Records a look, once for each reason. @throws EventStoreUnavailable: then nothing may be shown */
  record(session: Session, reason: Reason, look: Look): Promise<void>
}

export function createReasons(options: {
  readonly cookies: SealedCookies
  readonly eventStore: EventStore
  readonly now: () => Date
}): Reasons {
  const { cookies, eventStore, now } = options
  const recorded = new LRUCache<string, Promise<void>>({ max: MOST_RECORDED })
  return {
    async read(request, session) {
      const { data } = content.safeParse(await cookies.get(request, 'reason'))
      if (data?.session !== session.id) return undefined
      return { text: data.text, since: new Date(data.since), until: new Date(data.since + HOLDS_MS) }
    },
    async give(reply, session, given) {
      const text = (given ?? '').trim()
      if (!hasWords(text))
        throw new Refused(400, 'Write why you need to see personal data, such as the number of a ticket.')
      if (text.length > LONGEST)
        throw new Refused(400, `The reason is too long; accepted: up to ${LONGEST} characters.`)
      if (hasAddress(text))
        throw new Refused(
          400,
          'The reason stays in the log for good, so it must not name a person: write the number of a ticket.',
        )
      const since = now().getTime()
      await cookies.set(reply, 'reason', { session: session.id, text, since }, new Date(since + HOLDS_MS))
    },
    end: (reply) => cookies.clear(reply, 'reason'),
    record(session, reason, { command, ...whose }) {
      const key = JSON.stringify([session.id, reason.since.getTime(), command, whose])
      let done = recorded.get(key)
      if (done === undefined) {
        const actor = actorOf(session.person)
        done = recordReveal(eventStore, { ...whose, command: `console: ${command}`, reason: reason.text, actor })
        recorded.set(key, done)
        done.catch(() => recorded.delete(key))
      }
      return done
    },
  }
}
