/** Sessions: who is signed in, until when, and the token that protects forms. */
import { createHmac, createSecretKey, hkdfSync, randomUUID, timingSafeEqual } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { LRUCache } from 'lru-cache'
import { z } from 'zod'
import { type Person, ROLES } from '../people.ts'
import type { SealedCookies } from './sealed-cookies.ts'

const IDLE_MS = 30 * 60_000
const LONGEST_MS = 8 * 60 * 60_000
/** A session is renewed once it is this old, and not with each request. */
const RENEW_MS = 60_000
/** Sessions that were signed out and could still be replayed from a copy of the cookie. */
const MOST_ENDED = 10_000

const content = z.object({
  id: z.string(),
  name: z.string(),
  roles: z.array(z.enum(ROLES)),
  email: z.string().optional(),
  since: z.number(),
  seen: z.number(),
})

export interface Session {
  readonly id: string
  readonly person: Person
  /** When the person signed in. */
  readonly since: Date
}

export interface Sessions {
  /** The request's session; renews its cookie. undefined: none that counts. */
  read(request: FastifyRequest, reply: FastifyReply): Promise<Session | undefined>
  /** Begins a session. */
  begin(reply: FastifyReply, person: Person): Promise<Session>
  /** Ends a session in this browser; this process refuses copies of its cookie, too. */
  end(reply: FastifyReply, session: Session | undefined): void
  /** The token that each form of the session carries. */
  formToken(session: Session): string
  /** Whether a form's token is the session's. */
  isFormToken(session: Session, given: string | null): boolean
}

export function createSessions(options: {
  readonly cookies: SealedCookies
  readonly key: string
  readonly now: () => Date
}): Sessions {
  const { cookies, now } = options
  // As an object: with a key as bytes, createHmac costs twenty times as much.
  const formKey = createSecretKey(Buffer.from(hkdfSync('sha256', options.key, '', 'forms of the console', 32)))
  const ended = new LRUCache<string, true>({ max: MOST_ENDED })

  const write = (reply: FastifyReply, { id, person, since }: Session) => {
    const seen = now().getTime()
    const until = new Date(Math.min(seen + IDLE_MS, since.getTime() + LONGEST_MS))
    return cookies.set(reply, 'session', { id, ...person, since: since.getTime(), seen }, until)
  }
  const formToken = ({ id }: Session) => createHmac('sha256', formKey).update(id).digest('base64url')
  return {
    async read(request, reply) {
      const result = content.safeParse(await cookies.get(request, 'session'))
      if (!result.success || ended.has(result.data.id)) return undefined
      const { id, name, roles, email, since, seen } = result.data
      const session = { id, person: { name, roles, email }, since: new Date(since) }
      if (now().getTime() - seen >= RENEW_MS) await write(reply, session)
      return session
    },
    async begin(reply, person) {
      const session = { id: randomUUID(), person, since: now() }
      await write(reply, session)
      return session
    },
    end(reply, session) {
      if (session) ended.set(session.id, true)
      for (const purpose of ['session', 'reason', 'notice'] as const) cookies.clear(reply, purpose)
    },
    formToken,
    isFormToken(session, given) {
      const [wanted, offered] = [Buffer.from(formToken(session)), Buffer.from(given ?? '')]
      return wanted.length === offered.length && timingSafeEqual(wanted, offered)
    },
  }
}
