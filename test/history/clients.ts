/** Clients of two instances that change and read customers, and note what they see. */
import { setTimeout as delay } from 'node:timers/promises'
import type { Test } from 'tap'
import type { EventStore } from '../../eventstore/port.ts'
import { freshEmail, PASSWORD } from '../support/graph.ts'
import { createHistory, newToken, type TokenLife } from './checker.ts'
import type { Random } from './random.ts'

const TIMEOUT_MS = 7_000
const READERS = 2

interface Instance {
  readonly name: string
  readonly url: string
}

interface Answer {
  // biome-ignore lint/suspicious/noExplicitAny: an answer has the shape that the query asks for
  readonly data?: any
  // biome-ignore lint/suspicious/noExplicitAny: see above
  readonly errors?: any[]
}

export interface Clients {
  /** What came of operations so far. */
  readonly counts: Readonly<Record<'writes' | 'reads', number>>
  /** Ends the load. @returns what could not be so */
  end(eventStore: EventStore): Promise<{ readonly faults: string[]; readonly counts: Record<string, number> }>
}

/** Operations at the instances. @param signal ends what is repeated */
function createSender(
  instances: readonly Instance[],
  random: Random,
  signal: AbortSignal,
  counts: { unknown: number },
) {
  /** One operation at an instance; undefined where nobody can tell what came of it. */
  async function send(
    by: Instance,
    query: string,
    token?: string,
    variables?: object,
    correlationId: string = crypto.randomUUID(),
  ): Promise<Answer | undefined> {
    try {
      const response = await fetch(`${by.url}/graphql`, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          'x-correlation-id': correlationId,
          ...(token && { authorization: `Bearer ${token}` }),
        },
        body: JSON.stringify({ query, variables }),
        signal: AbortSignal.timeout(TIMEOUT_MS),
      })
      const answer = (await response.json()) as Answer
      const isUnknown = answer.errors?.some(({ extensions }) => extensions?.code === 'SERVICE_UNAVAILABLE')
      if (!isUnknown) return answer
    } catch {
      // The instance is gone, or stands still.
    }
    counts.unknown++
    await delay(30)
    return undefined
  }

  /** Repeats at one instance after the other until there is an answer. */
  async function insist(query: string, token?: string, variables?: object): Promise<Answer | undefined> {
    while (!signal.aborted) {
      const answer = await send(random.pick(instances), query, token, variables)
      if (answer) return answer
    }
    return undefined
  }

  async function signUp(email: string): Promise<number | undefined> {
    const input = { firstname: 'N0', lastname: 'Lee', email, password: PASSWORD }
    const query = 'mutation($input: CustomerInput!) { createCustomer(input: $input) { customer { id } } }'
    return (await insist(query, undefined, { input }))?.data?.createCustomer?.customer.id
  }

  async function signIn(email: string): Promise<{ readonly text: string; readonly life: TokenLife } | undefined> {
    const query = `mutation { generateCustomerToken(email: "${email}", password: "${PASSWORD}") { token } }`
    const text = (await insist(query))?.data?.generateCustomerToken?.token
    return text && { text, life: newToken(performance.now()) }
  }

  return { send, insist, signUp, signIn }
}

/** @param customers how many are at work at a time; one that is deleted is followed by another */
export function startClients(t: Test, instances: readonly Instance[], random: Random, customers: number): Clients {
  const ending = new AbortController()
  t.teardown(() => ending.abort())
  const { signal } = ending
  const counts = { writes: 0, reads: 0, unknown: 0, refusals: 0, revocations: 0, deletions: 0 }
  const finished: { readonly id: number; readonly history: ReturnType<typeof createHistory> }[] = []
  /** By correlation id: after a deletion nothing else in the log tells what was written. */
  const written = new Map<string, string>()

  const { send, insist, signUp, signIn } = createSender(instances, random, signal, counts)

  /** One customer from the registration to the deletion, or to the end of the run. */
  async function live(): Promise<void> {
    const email = freshEmail()
    const id = await signUp(email)
    let token = id === undefined ? undefined : await signIn(email)
    if (id === undefined || token === undefined) return
    const history = createHistory(`customer ${id}`)
    finished.push({ id, history })
    const over = new AbortController()
    const tokens = [token]

    async function read(): Promise<void> {
      while (!signal.aborted && !over.signal.aborted) {
        const by = random.pick(instances)
        // Now and then one that was revoked.
        const used = random.chance(0.85) ? tokens.at(-1) : random.pick(tokens)
        if (used === undefined) return
        const start = performance.now()
        const answer = await send(by, '{ customer { firstname } }', used.text)
        const span = { start, end: performance.now() }
        const name = answer?.data?.customer?.firstname
        if (name !== undefined) {
          counts.reads++
          history.admitted(used.life, span, by.name)
          history.saw({ ...span, name, by: by.name })
        } else if (answer && isRefusal(answer)) {
          counts.refusals++
          history.refused(used.life, span, by.name)
        }
        await delay(random.between(5, 40))
      }
    }

    async function write(number: number): Promise<void> {
      const by = random.pick(instances)
      const name = `N${number}`
      const start = performance.now()
      const query = `mutation { updateCustomer(input: { firstname: "${name}" }) { customer { firstname } } }`
      const correlationId = crypto.randomUUID()
      written.set(correlationId, name)
      const answer = await send(by, query, token?.text, undefined, correlationId)
      if (answer?.data?.updateCustomer?.customer.firstname !== name) return
      counts.writes++
      history.saw({ start, end: performance.now(), name, by: `${by.name} (written)` })
    }

    /** Ends the token, however often it takes. */
    async function end(query: string): Promise<void> {
      const ended = token as NonNullable<typeof token>
      ended.life.ending = performance.now()
      for (;;) {
        const answer = await insist(query, ended.text)
        if (answer === undefined) return
        // Refused: an attempt of which nobody knew what came has ended it.
        if (answer.errors === undefined || isRefusal(answer)) break
        await delay(50)
      }
      ended.life.ended = performance.now()
    }

    const readers = Array.from({ length: READERS }, read)
    for (let number = 1; !signal.aborted; number++) {
      const dice = random.next()
      if (dice < 0.03) {
        await end('mutation { revokeCustomerToken { result } }')
        counts.revocations++
        token = await signIn(email)
        if (token === undefined) break
        tokens.push(token)
      } else if (dice < 0.045) {
        await end('mutation { deleteCustomer }')
        counts.deletions++
        await delay(500) // the readers go on for a while
        break
      } else await write(number)
      await delay(random.between(10, 80))
    }
    over.abort()
    await Promise.all(readers)
  }

  async function lives(): Promise<void> {
    while (!signal.aborted) await live()
  }
  const running = Promise.all(Array.from({ length: customers }, lives))

  return {
    counts,
    async end(eventStore) {
      ending.abort()
      await running
      const faults: string[] = []
      for (const { id, history } of finished) faults.push(...history.faults(await namesOf(eventStore, id, written)))
      return { faults, counts: { customers: finished.length, ...counts } }
    },
  }
}

const isRefusal = ({ errors }: Answer) => errors?.[0]?.message === 'User token has been revoked'

/** The customer's first names, oldest first. */
async function namesOf(
  eventStore: EventStore,
  id: number,
  written: ReadonlyMap<string, string>,
): Promise<readonly string[]> {
  const names = ['N0']
  for await (const { type, metadata } of eventStore.readStream(`customer-${id}`)) {
    const name = written.get((metadata as { $correlationId: string }).$correlationId)
    if (type === 'CustomerDetailsChanged' && name) names.push(name)
  }
  return names
}
