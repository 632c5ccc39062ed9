import { absentCustomer, type CustomerDocument } from '../../../projections/customer.ts'
import type { Checkpoint, ParkedEvent, ReadModel } from '../../../projections/read-model.ts'

/** A registered customer's document at a revision. */
export function aDocument(id: number, revision: number, fields: Partial<CustomerDocument> = {}): CustomerDocument {
  return {
    ...absentCustomer(id),
    revision,
    status: 'registered',
    email: `${id}@example.com`,
    createdAt: '2026-01-01T00:00:00.000Z',
    firstname: `at ${revision}`,
    ...fields,
  }
}

export const aCheckpoint = (commit: bigint, fields: Partial<Checkpoint> = {}): Checkpoint => ({
  position: { commit, prepare: commit },
  id: `00000000-0000-4000-8000-${String(commit).padStart(12, '0')}`,
  stream: 'customer-1',
  revision: Number(BigInt.asUintN(31, commit)),
  origin: '6f1e8a1c-0c51-4f2b-9d43-8a1f5c1d2e3f',
  complete: true,
  ...fields,
})

export const aParkedEvent = (customerId: number): ParkedEvent => ({
  customerId,
  stream: `customer-${customerId}`,
  revision: 3,
  type: 'CustomerKnighted',
  reason: 'Event type "CustomerKnighted" is not in the catalogue.',
  at: '2026-01-01T00:00:00.000Z',
})

export const NOTHING = { document: null, acknowledged: -1 }

/** Each puts something unreadable there, of one kind after the other, and does `work` for each. */
export interface Damage {
  /** @param document the text of a whole document of this customer, to be altered */
  documents(customerId: number, document: CustomerDocument, work: (name: string) => Promise<void>): Promise<void>
  checkpoints(work: (name: string) => Promise<void>): Promise<void>
  parked(customerId: number, work: (name: string) => Promise<void>): Promise<void>
  marks(customerId: number, work: (name: string) => Promise<void>): Promise<void>
  generations(work: (name: string) => Promise<void>): Promise<void>
}

/** Texts that are not the document. */
export function brokenDocuments(document: CustomerDocument): Record<string, string> {
  const altered = (fields: object) => JSON.stringify({ ...document, ...fields })
  const { addresses: _, ...lacking } = document
  return {
    empty: '',
    'no JSON': 'garbage',
    'half a document': JSON.stringify(document).slice(0, -20),
    null: 'null',
    'a number': '5',
    'a text': '"garbage"',
    'a list': '[]',
    'an empty object': '{}',
    'another version': altered({ version: 1 }),
    'another customer’s': altered({ id: document.id + 1 }),
    'of another revision': altered({ revision: document.revision + 3 }),
    'without addresses': JSON.stringify(lacking),
    'addresses of another shape': altered({ addresses: [null] }),
    'an address without its street': altered({ addresses: [{ id: 1, city: 'Austin' }] }),
    'a status that is none': altered({ status: 'knighted' }),
    'a registration at no time': altered({ createdAt: 'garbage' }),
    'a lock until no time': altered({ lockedUntil: '' }),
    'a negative token generation': altered({ tokenGeneration: -1 }),
    'a name that is no text': altered({ firstname: { first: 'Ann' } }),
  }
}

/** What each case works with. */
export interface Contract {
  /** Two handles on the same read model. */
  readonly one: ReadModel
  readonly two: ReadModel
  /** One more; the case closes it. */
  readonly open: (generation?: number) => ReadModel | Promise<ReadModel>
  /** Puts something in the place of what is stored of the generation, as another program would. */
  readonly damage: (generation: number) => Damage
  /** Empties the read model. */
  readonly empty: () => Promise<void>
  /** Empties it, and completes it: then queries see the documents. */
  readonly complete: () => Promise<void>
}
