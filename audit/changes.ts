/** What differs between two states of a customer, field by field. */
import type { Json } from '../eventstore/port.ts'
import type { CustomerAddress, CustomerDocument } from '../projections/customer.ts'

/** A field with its value before and after; null: not set. Fields of addresses are named `addresses.<id>.<field>`. */
export interface Change {
  readonly field: string
  readonly from: Json
  readonly to: Json
}

/** Internal fields of the document, and fields that are derived from others. */
const INTERNAL = new Set(['version', 'id', 'revision', 'lastAddressId', 'passwordResetRequests'])
/** Links are represented by the time of their request. */
const LINKS = new Set(['confirmation', 'passwordReset', 'newsletterConfirmation'])

/**
 * The changes from one state to another, in the order of the document's fields. A customer who is not registered has no
 * fields but its status.
 */
export function changesBetween(before: CustomerDocument, after: CustomerDocument): Change[] {
  const changes: Change[] = []
  const add = (field: string, from: Json | undefined, to: Json | undefined) => {
    if (!isSame(from ?? null, to ?? null)) changes.push({ field, from: from ?? null, to: to ?? null })
  }
  add('status', before.status, after.status)
  const [was, is] = [registered(before), registered(after)]
  for (const field of Object.keys(after) as (keyof CustomerDocument)[]) {
    const [from, to] = [was[field], is[field]]
    // The parts that an event does not change are identical objects.
    if (from === to || field === 'status' || INTERNAL.has(field)) continue
    if (field === 'addresses') addAddresses(was.addresses ?? [], is.addresses ?? [], add)
    else if (field === 'customAttributes') addEach(field, was.customAttributes ?? {}, is.customAttributes ?? {}, add)
    else if (LINKS.has(field)) add(field, (from as { at?: string } | null)?.at, (to as { at?: string } | null)?.at)
    else add(field, from as Json, to as Json)
  }
  return changes
}

/** The fields of a state, by name. */
export function fieldsOf(document: CustomerDocument): { readonly field: string; readonly value: Json }[] {
  const nothing = { ...document, status: 'absent' } as const
  const fields = changesBetween(nothing, document).map(({ field, to }) => ({ field, value: to }))
  return document.status === 'absent' ? [{ field: 'status', value: 'absent' }] : fields
}

const registered = (document: CustomerDocument): Partial<CustomerDocument> =>
  document.status === 'registered' ? document : {}

type Add = (field: string, from: Json | undefined, to: Json | undefined) => void

function addAddresses(before: readonly CustomerAddress[], after: readonly CustomerAddress[], add: Add): void {
  const was = new Map(before.map((address) => [address.id, address]))
  const is = new Map(after.map((address) => [address.id, address]))
  for (const id of new Set([...was.keys(), ...is.keys()])) {
    if (was.get(id) === is.get(id)) continue
    const [from, to] = [partsOf(was.get(id)), partsOf(is.get(id))]
    addEach(`addresses.${id}`, from.fields, to.fields, add)
    addEach(`addresses.${id}.customAttributes`, from.customAttributes, to.customAttributes, add)
  }
}

function partsOf(address: CustomerAddress | undefined) {
  const { id: _, customAttributes = {}, ...fields }: Partial<CustomerAddress> = address ?? {}
  return { fields, customAttributes }
}

function addEach(prefix: string, before: object, after: object, add: Add): void {
  const [from, to] = [before, after] as Record<string, Json>[]
  for (const name of new Set([...Object.keys(before), ...Object.keys(after)])) {
    add(`${prefix}.${name}`, own(from, name), own(to, name))
  }
}

/** The store chooses attribute codes: one may have the name of an inherited property. */
const own = (values: Record<string, Json> | undefined, name: string) =>
  values && Object.hasOwn(values, name) ? values[name] : undefined

const isSame = (a: Json, b: Json) => a === b || (typeof a === 'object' && JSON.stringify(a) === JSON.stringify(b))
