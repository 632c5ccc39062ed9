/**
 * The commands behind the mutations: what each reads, decides and appends. The order of the appends is such that a
 * crash between two leaves nothing stuck.
 */
import type { EventStore } from '../../eventstore/port.ts'
import type { CustomerAddress, CustomerDocument } from '../../projections/customer.ts'
import type { Store } from '../../schema/store.ts'
import type { Customers } from '../customers/customers.ts'
import type { AddressInput } from '../domain/address.ts'
import type { CustomerInput } from '../domain/customer.ts'
import type { Credentials } from '../identity/credentials.ts'
import type { SignIn } from '../identity/sign-in.ts'
import type { Caller } from '../identity/tokens.ts'
import type { AccessLog } from '../streams/access-log.ts'
import type { EmailClaims } from '../streams/email-claims.ts'
import type { Ids } from '../streams/ids.ts'
import type { Subscribers } from '../streams/newsletter-subscribers.ts'
import { createAccountCommands } from './account-commands.ts'
import { createAddressCommands } from './address-commands.ts'
import type { Command } from './command.ts'
import { createOwnCustomer, type OwnCustomer } from './own-customer.ts'
import { createRegistration } from './registration.ts'
import { createUpdate } from './update-customer.ts'

export interface Commands {
  createCustomer(input: CustomerInput, command: Command): Promise<CustomerDocument>
  updateCustomer(caller: Caller | null, input: CustomerInput, command: Command): Promise<CustomerDocument>
  changePassword(
    caller: Caller | null,
    passwords: { readonly currentPassword: string; readonly newPassword: string },
    command: Command,
  ): Promise<CustomerDocument>
  deleteCustomer(caller: Caller | null, command: Command): Promise<void>
  signIn(email: string, password: string, command: Command): Promise<CustomerDocument>
  revokeTokens(caller: Caller | null, command: Command): Promise<void>
  createAddress(caller: Caller | null, input: AddressInput, command: Command): Promise<AddressOutcome>
  updateAddress(
    caller: Caller | null,
    addressId: number,
    input: AddressInput | null | undefined,
    command: Command,
  ): Promise<AddressOutcome>
  deleteAddress(caller: Caller | null, addressId: number, command: Command): Promise<void>
}

export interface AddressOutcome {
  readonly customer: CustomerDocument
  readonly address: CustomerAddress
}

export interface CommandParts {
  readonly eventStore: EventStore
  readonly customers: Customers
  readonly own: OwnCustomer
  readonly ids: Ids
  readonly claims: EmailClaims
  readonly credentials: Credentials
  readonly signIn: SignIn
  readonly subscribers: Subscribers
  readonly access: AccessLog
  readonly store: Store
}

export function createCommands(options: Omit<CommandParts, 'own'>): Commands {
  const parts: CommandParts = { ...options, own: createOwnCustomer(options.customers) }
  return {
    ...createRegistration(parts),
    ...createUpdate(parts),
    ...createAccountCommands(parts),
    ...createAddressCommands(parts),
    signIn: options.signIn.signIn,
  }
}
