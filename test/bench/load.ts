/** Load on one HTTP server from this process: a number of connections, each sending its next request when the answer is there. */
import { createHistogram } from 'node:perf_hooks'
import { isDeepStrictEqual } from 'node:util'
import { Client } from 'undici'

/** A request and what has to come back. */
export interface Exchange {
  readonly path: string
  /** Sent as JSON, by POST; undefined: it is a GET. */
  readonly body?: object
  readonly token?: string
  /** Of the answer's JSON. */
  readonly answer: object
}

/** A server whose answers have been checked, and what each connection sends: the list at its number, over and over. */
export interface Target {
  readonly url: string
  readonly lists: readonly (readonly Prepared[])[]
}

interface Prepared {
  readonly path: string
  readonly headers: string[]
  readonly body: string | undefined
  /** The answer, to the letter. */
  readonly text: string
}

export interface Measurement {
  readonly requests: number
  readonly requestsPerSecond: number
  /** Milliseconds that 99 of 100 answers took at most. */
  readonly p99: number
}

/**
 * Makes each exchange once.
 * @param lists one for each connection; with fewer lists than connections, connections share them
 * @throws Error where an answer is not the right one
 */
export async function check(url: string, lists: readonly (readonly Exchange[])[]): Promise<Target> {
  const client = new Client(url)
  const checked: Prepared[][] = []
  for (const list of lists) {
    const prepared: Prepared[] = []
    for (const { path, body, token, answer } of list) {
      const headers = ['content-type', 'application/json']
      if (token !== undefined) headers.push('authorization', `Bearer ${token}`)
      const request = { path, headers, body: body && JSON.stringify(body) }
      const text = await send(client, request)
      if (!isDeepStrictEqual(JSON.parse(text), answer)) {
        const [is, due] = [text, JSON.stringify(answer)].map((whole) => whole.slice(0, 1000))
        throw new Error(`${url}${path}: the answer was ${is} and not ${due}`)
      }
      prepared.push({ ...request, text })
    }
    checked.push(prepared)
  }
  await client.close()
  return { url, lists: checked }
}

/** @throws Error at the first answer that is not the one that was checked */
export async function load({ url, lists }: Target, connections: number, seconds: number): Promise<Measurement> {
  const latencies = createHistogram()
  const clients = Array.from({ length: connections }, () => new Client(url))
  const exchange = async (connection: number, count: number) => {
    const list = lists[connection % lists.length] as readonly Prepared[]
    const prepared = list[count % list.length] as Prepared
    const text = await send(clients[connection] as Client, prepared)
    if (text !== prepared.text) throw new Error(`${url}${prepared.path}: under load the answer was ${text}`)
  }
  try {
    // All connections stand before the time runs.
    await Promise.all(clients.map((_, connection) => exchange(connection, 0)))
    const started = performance.now()
    const end = started + seconds * 1000
    await Promise.all(
      clients.map(async (_, connection) => {
        let before = performance.now()
        for (let count = 1; before < end; count++) {
          await exchange(connection, count)
          const now = performance.now()
          latencies.record(Math.max(1, Math.round((now - before) * 1000)))
          before = now
        }
      }),
    )
    const took = (performance.now() - started) / 1000
    const requests = latencies.count
    return { requests, requestsPerSecond: requests / took, p99: latencies.percentile(99) / 1000 }
  } finally {
    await Promise.all(clients.map((client) => client.destroy()))
  }
}

/** undici's dispatch: the load is to cost little beside what it measures. @throws Error for a status other than 2xx */
function send(client: Client, { path, headers, body }: Omit<Prepared, 'text'>): Promise<string> {
  return new Promise((resolve, reject) => {
    let status = 0
    let text = ''
    client.dispatch(
      { path, method: body === undefined ? 'GET' : 'POST', headers, body: body ?? null },
      {
        onRequestStart() {},
        onResponseStart(_controller, statusCode) {
          status = statusCode
        },
        onResponseData(_controller, chunk) {
          text += chunk
        },
        onResponseEnd() {
          if (status >= 200 && status <= 299) resolve(text)
          else reject(new Error(`${path}: HTTP status ${status}: ${text}`))
        },
        onResponseError: (_controller, error) => reject(error),
      },
    )
  })
}
