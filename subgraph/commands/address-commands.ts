/** Commands on a customer's addresses. */
import type { CustomerDocument } from '../../projections/customer.ts'
import type { AddressInput } from '../domain/address.ts'
import { addAddress, changeAddress, checkNotEmpty, removeAddress } from '../domain/customer.ts'
import { fault } from '../domain/faults.ts'
import { refusal } from '../errors.ts'
import type { Caller } from '../identity/tokens.ts'
import type { Command } from './command.ts'
import type { AddressOutcome, CommandParts, Commands } from './customer-commands.ts'

export function createAddressCommands(
  parts: CommandParts,
): Pick<Commands, 'createAddress' | 'updateAddress' | 'deleteAddress'> {
  const { customers, own, ids, store } = parts

  async function createAddress(caller: Caller | null, input: AddressInput, command: Command): Promise<AddressOutcome> {
    if (caller === null) throw refusal('NOT_SIGNED_IN')
    checkNotEmpty(input)
    let reserved: number | undefined
    const { state, events } = await own.execute(caller, command, async (state) => {
      // Validates first, so that a refused address uses up no id.
      const free = ids.nextAddressId(state) ?? reserved
      if (free !== undefined) return addAddress(state, free, input, store)
      addAddress(state, 0, input, store)
      reserved = await ids.reserveAddressIds(state.id, command)
      return addAddress(state, reserved, input, store)
    })
    const added = events.find((event) => event.type === 'CustomerAddressAdded')
    return outcome(state, added?.data.addressId ?? 0)
  }

  async function updateAddress(
    caller: Caller | null,
    addressId: number,
    input: AddressInput | null | undefined,
    command: Command,
  ): Promise<AddressOutcome> {
    if (caller === null) throw refusal('NOT_SIGNED_IN')
    if (addressId === 0) throw refusal('ADDRESS_ID_MISSING')
    if (input == null || Object.keys(input).length === 0) throw refusal('ADDRESS_INPUT_MISSING')
    const { state } = await own.execute(caller, command, async (state) => {
      await requireOwnAddress(state, addressId)
      return changeAddress(state, addressId, input, store)
    })
    return outcome(state, addressId)
  }

  function outcome(customer: CustomerDocument, addressId: number): AddressOutcome {
    const address = customer.addresses.find(({ id }) => id === addressId)
    // A retry of a change whose address has been deleted since.
    if (address === undefined) throw refusal('ADDRESS_GONE', { addressId })
    return { customer, address }
  }

  /** @throws CustomerError: not found, or somebody else's */
  async function requireOwnAddress(state: CustomerDocument, addressId: number): Promise<void> {
    if (state.addresses.some(({ id }) => id === addressId)) return
    const owner = await ids.addressOwner(addressId)
    if (owner !== undefined && owner !== state.id) {
      const { addresses } = await customers.load(owner)
      if (addresses.some(({ id }) => id === addressId)) {
        throw fault('ADDRESS_NOT_OWN', { addressId })
      }
    }
    throw fault('ADDRESS_NOT_FOUND', { addressId })
  }

  return {
    createAddress,
    updateAddress,

    async deleteAddress(caller, addressId, command) {
      await own.execute(caller, command, async (state) => {
        await requireOwnAddress(state, addressId)
        return removeAddress(state, addressId)
      })
    },
  }
}
