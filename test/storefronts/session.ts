/** What a storefront's operations have in common: the customer that sends them, and the form in which they are listed. */
import { freshEmail, PASSWORD } from '../support/graph.ts'

/** A browser with one customer in front of it. */
export interface Session {
  email: string
  password: string
  /** Of the signed-in customer. */
  token?: string | undefined
  /** Ids of the customer's addresses, in the order of their creation. */
  readonly addresses: number[]
  /** The token of the link that was mailed last. */
  readonly linkToken: () => Promise<string>
}

/** An operation as a storefront sends it. */
export interface Operation {
  readonly document: string
  readonly variables?: (session: Session) => object | Promise<object>
  /** Sent without a token; the default is with the customer's. */
  readonly guest?: true
  /** What the answer's data has to match. */
  readonly answers: (session: Session) => object
  /** What the page keeps of the answer. */
  // biome-ignore lint/suspicious/noExplicitAny: an answer has the shape that the operation asks for
  readonly keeps?: (session: Session, data: any) => void
}

/** Another customer takes the browser. */
export function newcomer(session: Session) {
  session.email = freshEmail()
  session.password = PASSWORD
  session.token = undefined
  session.addresses.length = 0
  return session
}

/** Password of the customers that have changed theirs. */
export const NEW_PASSWORD = 'An0ther-pass'

/** Pattern of a bearer token, of an id. */
export const TOKEN = /^[\w-]+\.[\w-]+\.[\w-]+$/

/** Keeps the token of an answer of generateCustomerToken. */
export const signedIn: NonNullable<Operation['keeps']> = (session, data) => {
  session.token = data.generateCustomerToken.token
}

/** Keeps the id of an answer of createCustomerAddress. */
export const addressAdded: NonNullable<Operation['keeps']> = (session, data) => {
  session.addresses.push(data.createCustomerAddress.id)
}

export const credentials = ({ email, password }: Session) => ({ email, password })
