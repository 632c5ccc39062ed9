/** Checks the scopes of service tokens. */
import type { Scope } from '../../schema/scopes.ts'
import { refusal } from '../errors.ts'
import type { Caller, ServiceCaller } from './tokens.ts'

/**
 * The calling service, if it has the scope.
 * @throws CustomerError (graphql-authorization): UNAUTHENTICATED for a guest, FORBIDDEN for a customer or another
 * service
 */
export function requireScope(
  { caller, service }: { readonly caller: Caller | null; readonly service: ServiceCaller | null },
  scope: Scope,
): ServiceCaller {
  if (service?.scopes.includes(scope)) return service
  if (caller === null && service === null) throw refusal('NOT_SIGNED_IN')
  throw refusal('NOT_AUTHORIZED')
}
