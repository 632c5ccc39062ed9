/** What the bare routes call subgraphs with. */
import { Pool } from 'undici'

/** A function that sends a body to the subgraph, over connections that are kept, and reads its `data`. */
export function subgraph(url: string) {
  const { origin, pathname } = new URL(url)
  const pool = new Pool(origin, { connections: 64 })
  return async (body: object, authorization: string) => {
    const response = await pool.request({
      path: pathname,
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization },
      body: JSON.stringify(body),
    })
    // biome-ignore lint/suspicious/noExplicitAny: an answer has the shape that the query asks for
    return ((await response.body.json()) as { data: any }).data
  }
}
