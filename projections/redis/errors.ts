/** The errors of calls to Redis. */
import { ErrorReply } from 'redis'
import { ReadModelUnavailable } from '../read-model.ts'

/** Returned instead of an answer if the server refuses the command. */
export const REFUSED = Symbol('refused')

export function unlessRefused(error: unknown): typeof REFUSED {
  if (error instanceof ErrorReply) return REFUSED
  throw error
}

export const unavailable = (why: string) => new ReadModelUnavailable(`The read model can't be reached: ${why}.`)
