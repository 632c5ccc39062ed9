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

/** Only the kind of a failure, because a server's message may quote what was sent. */
export function reasonOf(error: unknown): string {
  if (error instanceof ErrorReply) return error.message.split(' ', 1)[0] ?? 'refused'
  const { code, name, message } = error as Partial<NodeJS.ErrnoException>
  if (message === 'no answer') return message
  return code ?? (name === 'Error' ? (error as object).constructor.name : name) ?? 'error'
}
