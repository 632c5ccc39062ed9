/** The ways to sign in, behind one interface. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Html } from '../html.ts'
import type { Person } from '../people.ts'

export interface SignIn {
  /**
   * The person whom each request names by itself (a proxy's header); `undefined`: nobody. Absent where people sign in with a
   * page, and have a session then.
   */
  readonly personOf?: (request: FastifyRequest) => Person | undefined
  /** The content of the page for those who are not signed in. @param back where they want to go: a path of the console */
  page(request: FastifyRequest, back: string): Html
  /** GET `/sign-in/start`: sends the browser to the provider. @returns its URL */
  readonly start?: (request: FastifyRequest, reply: FastifyReply, back: string) => Promise<string>
  /** GET `/sign-in/callback`: the browser comes back. @throws Refused with the reason */
  readonly callback?: (
    request: FastifyRequest,
    reply: FastifyReply,
  ) => Promise<{ readonly person: Person; readonly back: string }>
  /** POST `/sign-in`: a choice on the page. @throws Refused */
  readonly choose?: (request: FastifyRequest, form: URLSearchParams) => Person
}
