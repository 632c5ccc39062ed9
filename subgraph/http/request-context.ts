/** What a resolver knows of the request. */
import type { CustomerDocument } from '../../projections/customer.ts'
import type { Store } from '../../schema/store.ts'
import type { Client } from '../commands/command.ts'
import type { Caller, ServiceCaller } from '../identity/tokens.ts'

export interface RequestContext {
  /** From the token; `authorize` compares its generation with the customer's. */
  readonly caller: Caller | null
  /** Set if a service is the caller. */
  readonly service: ServiceCaller | null
  readonly client: Client
  readonly correlationId: string
  readonly traceparent: string | undefined
  readonly idempotencyKey: string | undefined
  /** The token of a solved CAPTCHA. */
  readonly captcha: string | undefined
  /** Whether the client has gone away. */
  isGone(): boolean
  /** The store view that the client asks for. */
  readonly view: Store['view']
  /** The connection of the answer, once it is known. */
  reply?: { header(name: string, value: string): unknown }
  /** The caller's document, if it has been read. */
  readonly document?: Promise<CustomerDocument> | undefined
  /** See `Admission.waitedMs`; after a mutation, with what that has waited for a store. */
  waitedMs?: number | undefined
  /** The characters of the request's large lists so far: see large-lists.ts. */
  listed?: number | undefined
  /** The signed-in customer, read once for all fields of a request. */
  customer?: Promise<CustomerDocument>
}

/** Who the request's commands are recorded as: see `Command.actor`. */
export function actorOf({ caller, service }: RequestContext): string {
  if (caller) return `customer:${caller.customerId}`
  return service ? `service:${service.service}` : 'guest'
}
