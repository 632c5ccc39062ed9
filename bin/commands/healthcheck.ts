/** `customers healthcheck`: exit code 0 if the URL answers 200 within three seconds. */
import { get } from 'node:http'

const LIMIT_MS = 3_000

export function healthcheck(url: string): void {
  const finish = (problem?: string): never => {
    if (problem !== undefined) console.error(`${url} ${problem}`)
    process.exit(problem === undefined ? 0 : 1)
  }
  try {
    get(url, { timeout: LIMIT_MS, agent: false }, ({ statusCode }) =>
      finish(statusCode === 200 ? undefined : `answers ${statusCode}`),
    )
      .on('timeout', () => finish(`does not answer within ${LIMIT_MS} ms`))
      .on('error', ({ message }) => finish(`does not answer: ${message}`))
  } catch (error) {
    finish(`can't be asked: ${(error as Error).message}`)
  }
}
