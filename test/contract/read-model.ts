/**
 * What every read-model adapter does. The read model under test belongs to the suite alone while it runs:
 * it is emptied before each case.
 */
import type { Test } from 'tap'
import type { EventPlace } from '../../eventstore/place.ts'
import { absentCustomer, type CustomerDocument } from '../../projections/customer.ts'
import {
  type Checkpoint,
  type ParkedEvent,
  type ReadModel,
  ReadModelUnavailable,
} from '../../projections/read-model.ts'

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

const aParkedEvent = (customerId: number): ParkedEvent => ({
  customerId,
  stream: `customer-${customerId}`,
  revision: 3,
  type: 'CustomerKnighted',
  reason: 'Event type "CustomerKnighted" is not in the catalogue.',
  at: '2026-01-01T00:00:00.000Z',
})

const NOTHING = { document: null, acknowledged: -1 }

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
    'a name that is no text': altered({ firstname: { first: 'Ann' } }),
  }
}

/**
 * @param open gives one more handle on the same read model (for a generation), as another process would have it; the suite
 * closes it
 */
export async function readModelContract(
  t: Test,
  name: string,
  {
    open,
    damage,
  }: {
    readonly open: (generation?: number) => ReadModel | Promise<ReadModel>
    /** Puts something in the place of what is stored of the generation, as another program would. */
    readonly damage: (generation: number) => Damage
  },
): Promise<void> {
  await t.test(`read-model contract: ${name}`, async (t) => {
    const one = await open()
    const two = await open()
    t.teardown(() => Promise.all([one.close(), two.close()]))

    /** Empty, or empty and complete: then queries see the documents. */
    const empty = () => one.reset()
    const complete = async () => {
      await one.reset()
      await one.setCheckpoint(aCheckpoint(1n), null)
    }

    await t.test('an unknown customer has no document and no mark', async (t) => {
      await complete()
      t.same(await one.get([1, 2]), [NOTHING, NOTHING])
      t.same(await one.documents([1, 2]), [null, null])
    })

    await t.test('answers come in the order of the ids, each as often as asked', async (t) => {
      await complete()
      const [a, b] = [aDocument(1, 0), aDocument(2, 0)]
      await one.put([a, b].map((document) => ({ document, expected: -1 })))
      const ids = [2, 3, 1, 2]
      t.same(await one.documents(ids), [b, null, a, b])
      t.same(
        (await one.get(ids)).map(({ document }) => document),
        [b, null, a, b],
      )
      t.same(await one.get([]), [])
      t.same(await one.documents([]), [])
    })

    await t.test('documents stay hidden from queries until the read model is complete', async (t) => {
      await empty()
      const document = aDocument(1, 3)
      await one.put([{ document, expected: -1 }])
      await one.acknowledge(1, 3)
      t.same(await one.get([1]), [{ document: null, acknowledged: 3 }], 'before a checkpoint')
      const partial = aCheckpoint(1n, { complete: false })
      await one.setCheckpoint(partial, null)
      t.same(await two.get([1]), [{ document: null, acknowledged: 3 }], 'with an incomplete one')
      t.same(await two.documents([1]), [document], 'a projection sees them')
      await one.setCheckpoint(aCheckpoint(2n), partial)
      t.same(await two.get([1]), [{ document, acknowledged: 3 }], 'complete')
    })

    await t.test(
      'the newest event of any document: the later one counts, and it goes with the documents',
      async (t) => {
        await empty()
        t.equal(await one.newest(), null)
        const [early, late] = [aCheckpoint(9n), aCheckpoint(10n ** 17n)].map(
          ({ position, id, stream, revision }): EventPlace => ({ position, id, stream, revision }),
        ) as [EventPlace, EventPlace]
        await one.put([{ document: aDocument(1, 0), expected: -1 }], early)
        t.strictSame(await two.newest(), early)
        await two.put([{ document: aDocument(1, 1), expected: 0 }], late)
        await one.put([{ document: aDocument(2, 0), expected: -1 }], early)
        await one.put([{ document: aDocument(3, 0), expected: -1 }])
        t.strictSame(await one.newest(), late)
        await one.reset()
        t.equal(await two.newest(), null)
      },
    )

    await t.test(
      'documents that are distrusted are hidden from queries until the read model is complete anew',
      async (t) => {
        await complete()
        const document = aDocument(1, 3)
        await one.put([{ document, expected: -1 }])
        t.same(await two.get([1]), [{ document, acknowledged: -1 }])
        await two.distrust()
        for (const handle of [one, two]) t.same(await handle.get([1]), [NOTHING])
        t.same(await one.documents([1]), [document], 'a projection sees them')
        t.not((await one.getCheckpoint())?.complete, true, 'and that they are not complete')
        await one.reset()
        await one.setCheckpoint(aCheckpoint(1n), null)
        await one.put([{ document, expected: -1 }])
        t.same(await two.get([1]), [{ document, acknowledged: -1 }])
      },
    )

    await t.test('generations: one is live, another is filled beside it, marks are shared', async (t) => {
      await complete()
      const live = await one.generation()
      const next = live + 1
      const filling = await open(next)
      t.teardown(() => filling.close())
      t.equal(await filling.generation(), next)
      t.equal(await filling.wanted(), next)
      t.equal(await filling.follow(), next, 'a handle that was opened for one stays on it')
      await one.put([{ document: aDocument(1, 0), expected: -1 }])
      t.same(await filling.documents([1]), [null], 'documents are its own')
      await filling.put([{ document: aDocument(1, 5), expected: -1 }])
      t.same(await one.documents([1]), [aDocument(1, 0)])
      await one.acknowledge(1, 7)
      t.same(await filling.get([1]), [{ document: null, acknowledged: 7 }], 'marks are shared, documents wait')
      t.equal(await filling.getCheckpoint(), null)
      await filling.setCheckpoint(aCheckpoint(3n), null)
      t.same(await filling.get([1]), [{ document: aDocument(1, 5), acknowledged: 7 }])
      t.match(await one.generations(), [
        { number: live, live: true, checkpoint: { complete: true } },
        { number: next, live: false, checkpoint: { position: { commit: 3n } } },
      ])
      t.equal(await two.wanted(), live)
      t.equal(await two.switchGeneration(next, live), false, 'not the live one')
      t.equal(await two.switchGeneration(live, next), true)
      t.equal(await one.wanted(), next)
      t.same(await one.documents([1]), [aDocument(1, 0)], 'nobody goes over before it says so')
      t.equal(await one.follow(), next)
      t.equal(await one.generation(), next)
      t.same(await one.get([1]), [{ document: aDocument(1, 5), acknowledged: 7 }])
      await t.rejects(one.dropGeneration(next), RangeError, 'the live one stays')
      await two.dropGeneration(live)
      t.same(await two.documents([1]), [null])
      t.same(
        (await one.generations()).map(({ number, live }) => ({ number, live })),
        [{ number: next, live: true }],
      )
      t.same(await one.get([1]), [{ document: aDocument(1, 5), acknowledged: 7 }], 'marks and the live one are there')
      await one.reset()
      t.same(await one.get([1]), [NOTHING])
      await two.switchGeneration(next, live)
      await two.dropGeneration(next)
      await Promise.all([one.follow(), two.follow()])
    })

    await t.test('which documents differ between generations', async (t) => {
      await complete()
      const live = await one.generation()
      const next = await open(live + 1)
      t.teardown(() => next.close())
      const ids = Array.from({ length: 250 }, (_, index) => index + 1)
      const writes = ids.map((id) => ({ document: aDocument(id, 2), expected: -1 }))
      await one.put(writes.filter(({ document }) => document.id !== 249))
      const altered = { document: aDocument(7, 2, { lastname: 'Ondříček' }), expected: -1 }
      await next.put([altered, ...writes.filter(({ document }) => document.id !== 7 && document.id !== 150)])
      const asked = [...ids, 1_000]
      t.same(await one.differing(asked, live + 1), [7, 150, 249], 'another text, none there, none here')
      t.same(await next.differing(asked, live), [7, 150, 249])
      t.same(await one.differing(asked, live), [], 'nothing differs from itself')
      t.same(await one.differing([], live + 1), [])
      t.same(await next.lacking(asked), [150, 1_000])
      t.same(await one.lacking(asked), [249, 1_000])
      t.same(await one.lacking([]), [])
      await one.dropGeneration(live + 1)
    })

    await t.test('customers who were deleted are forgotten by the other generations', async (t) => {
      await complete()
      const live = await one.generation()
      const next = await open(live + 1)
      t.teardown(() => next.close())
      const deleted = { ...absentCustomer(2), revision: 5, status: 'deleted' } as const
      await one.put([1, 2, 3].map((id) => ({ document: aDocument(id, 4), expected: -1 })))
      await next.put([
        { document: aDocument(1, 3), expected: -1 },
        { document: aDocument(3, 3), expected: -1 },
      ])
      await next.put([{ document: deleted, expected: -1 }])
      await one.forget([1, 2, 1_000])
      t.same(await next.documents([1, 2, 3]), [null, deleted, aDocument(3, 3)], 'but for what tells nothing any more')
      t.same(await one.documents([1, 2]), [aDocument(1, 4), aDocument(2, 4)], 'its own generation stays')
      await next.forget([2])
      t.same(await one.documents([1, 2]), [aDocument(1, 4), null])
      await one.put([{ document: aDocument(2, 6), expected: -1 }])
      await one.forget([])
      await one.scrub()
      t.same(await one.documents([1, 2]), [aDocument(1, 4), aDocument(2, 6)], 'as it was')
      await one.dropGeneration(live + 1)
    })

    await t.test('a reset of a generation that is not live keeps the marks', async (t) => {
      await complete()
      await one.put([{ document: aDocument(1, 0), expected: -1 }])
      await one.acknowledge(1, 4)
      const live = await one.generation()
      const next = await open(live + 1)
      t.teardown(() => next.close())
      await next.put([{ document: aDocument(1, 3), expected: -1 }])
      await next.setCheckpoint(aCheckpoint(1n), null)
      await next.reset()
      t.same(await next.documents([1]), [null])
      t.equal(await next.getCheckpoint(), null)
      t.same(await one.get([1]), [{ document: aDocument(1, 0), acknowledged: 4 }])
      await one.dropGeneration(live + 1)
    })

    await t.test('the customers of a generation', async (t) => {
      await complete()
      const ids = Array.from({ length: 2_500 }, (_, index) => index + 1)
      await one.put(ids.map((id) => ({ document: aDocument(id, 0), expected: -1 })))
      await one.acknowledge(9_999, 1)
      await one.park(aParkedEvent(1))
      const found = new Set<number>()
      for await (const some of two.customers()) for (const id of some) found.add(id)
      t.same(
        [...found].sort((a, b) => a - b),
        ids,
      )
    })

    await t.test('parked events: one for each customer, the newest', async (t) => {
      await complete()
      t.same(await one.parked(), [])
      await one.park(aParkedEvent(10))
      await one.park(aParkedEvent(2))
      await two.park({ ...aParkedEvent(10), revision: 8 })
      t.same(await one.parked(), [aParkedEvent(2), { ...aParkedEvent(10), revision: 8 }])
      await two.unpark(2)
      await two.unpark(3)
      t.same(
        (await one.parked()).map(({ customerId }) => customerId),
        [10],
      )
      await one.reset()
      t.same(await two.parked(), [])
    })

    await t.test('a mark rises and never goes back', async (t) => {
      await complete()
      await one.acknowledge(1, 4)
      t.same(await two.get([1]), [{ document: null, acknowledged: 4 }], 'without a document')
      await two.acknowledge(1, 2)
      t.equal((await one.get([1]))[0]?.acknowledged, 4)
      await two.acknowledge(1, 10)
      t.equal((await one.get([1]))[0]?.acknowledged, 10, 'compared as numbers')
      await one.acknowledge(1, 9)
      t.equal((await one.get([1]))[0]?.acknowledged, 10)
      await one.acknowledge(2, 0)
      t.equal((await one.get([2]))[0]?.acknowledged, 0)
    })

    await t.test('the incarnation: one for all handles, told with each mark; only trusted ones count', async (t) => {
      await complete()
      await one.put([{ document: aDocument(1, 4), expected: -1 }])
      const incarnation = await one.acknowledge(1, 4)
      t.match(incarnation, /./)
      t.equal(await two.acknowledge(1, 2), incarnation, 'also where the mark was higher')
      const { reached, isWhole } = await two.incarnations()
      t.ok(reached.includes(incarnation))
      t.equal(isWhole, true)
      t.same(new Set(await two.probe()), new Set(reached))
      t.same(await one.get([1], new Set(reached)), [{ document: aDocument(1, 4), acknowledged: 4 }])
      t.same(await one.get([1], new Set()), [NOTHING])
      t.same(await one.get([1], new Set(['another'])), [NOTHING])
    })

    await t.test('many marks at once, from two handles', async (t) => {
      await complete()
      const marks = Array.from({ length: 400 }, (_, index) => ({ id: 1 + (index % 20), revision: (index * 7) % 100 }))
      await Promise.all(marks.map(({ id, revision }, index) => (index % 2 ? one : two).acknowledge(id, revision)))
      for (const id of new Set(marks.map((mark) => mark.id))) {
        const highest = Math.max(...marks.filter((mark) => mark.id === id).map((mark) => mark.revision))
        t.equal((await one.get([id]))[0]?.acknowledged, highest, `customer ${id}`)
      }
    })

    await t.test('a mark and a document do not touch each other', async (t) => {
      await complete()
      await one.acknowledge(1, 2)
      t.same(await one.put([{ document: aDocument(1, 0), expected: -1 }]), [0], 'a mark is not a stored document')
      t.same(await one.get([1]), [{ document: aDocument(1, 0), acknowledged: 2 }])
      await one.acknowledge(1, 5)
      t.same(await one.get([1]), [{ document: aDocument(1, 0), acknowledged: 5 }])
    })

    await t.test('put: the first write expects none', async (t) => {
      await complete()
      t.same(await one.put([{ document: aDocument(1, 4), expected: -1 }]), [4])
      t.same(await two.documents([1]), [aDocument(1, 4)])
      t.same(await two.put([{ document: aDocument(1, 5), expected: -1 }]), [4], 'another one is told what is stored')
      t.same(await one.documents([1]), [aDocument(1, 4)])
    })

    await t.test('put: the expected revision wins, any other loses', async (t) => {
      await complete()
      await one.put([{ document: aDocument(1, 4), expected: -1 }])
      t.same(await one.put([{ document: aDocument(1, 7), expected: 4 }]), [7])
      t.same(await one.put([{ document: aDocument(1, 5), expected: 4 }]), [7], 'late')
      t.same(await one.put([{ document: aDocument(1, 9), expected: 8 }]), [7], 'early')
      t.same(await one.documents([1]), [aDocument(1, 7)])
      t.same(await one.put([{ document: aDocument(2, 1), expected: 0 }]), [-1], 'none is stored')
      t.same(await one.documents([2]), [null])
    })

    await t.test('put: winners and losers in one call', async (t) => {
      await complete()
      await one.put([1, 2, 3].map((id) => ({ document: aDocument(id, 0), expected: -1 })))
      const writes = [
        { document: aDocument(1, 1), expected: 0 },
        { document: aDocument(2, 5), expected: 4 },
        { document: aDocument(4, 0), expected: -1 },
        { document: aDocument(3, 2), expected: -1 },
      ]
      t.same(await one.put(writes), [1, 0, 0, 0])
      t.same(
        (await one.documents([1, 2, 3, 4])).map((document) => document?.revision),
        [1, 0, 0, 0],
      )
      t.same(await one.put([]), [])
    })

    await t.test('put: two writes of one customer in one call, in order', async (t) => {
      await complete()
      const chained = [
        { document: aDocument(1, 0), expected: -1 },
        { document: aDocument(1, 1), expected: 0 },
      ]
      t.same(await one.put(chained), [0, 1])
      t.same(await one.documents([1]), [aDocument(1, 1)])
      const rivals = [
        { document: aDocument(1, 2), expected: 1 },
        { document: aDocument(1, 3), expected: 1 },
      ]
      t.same(await one.put(rivals), [2, 2], 'the second is told of the first')
      t.same(await one.documents([1]), [aDocument(1, 2)])
    })

    await t.test('put: many customers in one call', async (t) => {
      await complete()
      const documents = Array.from({ length: 1500 }, (_, index) => aDocument(index + 1, index % 5))
      const ids = documents.map(({ id }) => id)
      t.same(
        await one.put(documents.map((document) => ({ document, expected: -1 }))),
        documents.map(({ revision }) => revision),
      )
      t.same(await two.documents(ids), documents)
    })

    await t.test('put: many at once, and no write is undone', async (t) => {
      await complete()
      const last = 40
      /** Each writer adds its letter to what it read: the document tells all writes that count. */
      const write = async (handle: ReadModel, letter: string) => {
        for (let seen = ''; ; ) {
          const [document] = await handle.documents([1])
          const lastname = document?.lastname ?? ''
          if (!lastname.startsWith(seen)) return t.fail(`${seen} became ${lastname}`)
          seen = lastname
          const revision = (document?.revision ?? -1) + 1
          if (revision > last) return
          const next = aDocument(1, revision, { lastname: lastname + letter })
          await handle.put([{ document: next, expected: revision - 1 }])
        }
      }
      await Promise.all([...'abcdefgh'].map((letter, index) => write(index % 2 ? one : two, letter)))
      const [document] = await one.documents([1])
      t.equal(document?.revision, last)
      t.equal(document?.lastname.length, last + 1, 'each revision was written once')
    })

    await t.test('put: rivals for one revision', async (t) => {
      await complete()
      for (let revision = 0; revision < 20; revision++) {
        const rivals = Array.from({ length: 6 }, (_, index) => aDocument(1, revision + index * 100))
        const answers = await Promise.all(
          rivals.map((document, index) => (index % 2 ? one : two).put([{ document, expected: revision - 1 }])),
        )
        const winners = rivals.filter((document, index) => answers[index]?.[0] === document.revision)
        const [stored] = await one.documents([1])
        t.same(winners, [stored], `revision ${revision}: the winner is what is stored`)
        for (const answer of answers) t.same(answer, [stored?.revision], 'all are told its revision')
        if (stored && stored.revision !== revision) {
          // Back to a known revision for the next round.
          await one.put([{ document: aDocument(1, revision), expected: stored.revision }])
        }
      }
    })

    await t.test('a document comes back as it was', async (t) => {
      await complete()
      const odd = 'Žofie "O\'Neil" \\ \u0000\u001f\u2028 日本語 👩‍👩‍👧 {}:*é\u0301'
      const document = aDocument(2 ** 31 - 1, 2 ** 31, {
        prefix: '',
        firstname: odd,
        lastname: 'x'.repeat(100_000),
        newsletter: 'subscribed',
        customAttributes: { size: '39', interests: ['1'] },
        defaultBilling: 7,
        addresses: [
          {
            ...{ id: 7, prefix: null, firstname: odd, middlename: null, lastname: 'İ', suffix: null, company: null },
            ...{ street: [odd, ''], city: 'Ústí', postcode: null, countryId: 'CZ', regionId: null, regionCode: null },
            ...{ region: null, telephone: '+420', fax: null, vatId: null, customAttributes: {} },
          },
        ],
        lastAddressId: 7,
      })
      await one.put([{ document, expected: -1 }])
      t.strictSame(await two.documents([document.id]), [document])
      t.strictSame((await two.get([document.id]))[0]?.document, document)
    })

    await t.test('the checkpoint', async (t) => {
      await empty()
      t.equal(await one.getCheckpoint(), null, 'none before the first')
      const first = aCheckpoint(5n, { complete: false })
      t.same(await one.setCheckpoint(first, null), first)
      t.same(await two.getCheckpoint(), first)
      // Positions are 64 bits: no number of JavaScript's holds them.
      const position = { commit: 9223372036854775807n, prepare: 9223372036854775805n }
      const far = aCheckpoint(0n, { position })
      t.same(await one.setCheckpoint(far, first), far)
      t.strictSame(await two.getCheckpoint(), far)
      const back = aCheckpoint(1n)
      t.same(await one.setCheckpoint(back, far), back, 'it may go back')
      t.same(await two.getCheckpoint(), back)
    })

    await t.test('the checkpoint is set only where the stored one is the expected one', async (t) => {
      await empty()
      const [a, b, c] = [aCheckpoint(1n), aCheckpoint(2n), aCheckpoint(3n)]
      t.equal(await one.setCheckpoint(b, a), null, 'the read model was emptied')
      t.equal(await one.getCheckpoint(), null)
      await one.setCheckpoint(a, null)
      t.same(await two.setCheckpoint(b, null), a, 'another worker was first')
      t.same(await two.setCheckpoint(b, c), a)
      t.same(await two.setCheckpoint(c, { ...a, complete: false }), a)
      t.same(await two.setCheckpoint(c, { ...a, origin: crypto.randomUUID() }), a)
      t.same(await two.setCheckpoint(c, { ...a, position: { commit: 1n, prepare: 0n } }), a)
      t.same(await one.getCheckpoint(), a)
      const rivals = Array.from({ length: 10 }, (_, index) => aCheckpoint(BigInt(10 + index)))
      const answers = await Promise.all(rivals.map((rival, index) => (index % 2 ? one : two).setCheckpoint(rival, a)))
      const stored = await one.getCheckpoint()
      for (const answer of answers) t.same(answer, stored, 'one wins and all are told')
    })

    await t.test('a damaged document counts as not there, and gives way', async (t) => {
      await complete()
      const generation = await one.generation()
      const [whole, other] = [aDocument(1, 4), aDocument(2, 0)]
      await one.put([whole, other].map((document) => ({ document, expected: -1 })))
      await damage(generation).documents(1, whole, async (name) => {
        t.same(await two.get([1, 2]), [NOTHING, { document: other, acknowledged: -1 }], name)
        t.same(await two.documents([1, 2]), [null, other], name)
        t.same(await one.lacking([1, 3]), [3], `${name}: something is there`)
        // Beside one that is whole, in one call.
        const writes = [aDocument(2, 0), whole].map((document) => ({ document, expected: -1 }))
        t.same(await one.put(writes), [0, 4], name)
        t.same(await two.documents([1, 2]), [whole, other], `${name}: written anew`)
      })
      await damage(generation).documents(1, whole, async (name) => {
        // As a worker that has the whole document in memory would: it is written, or the worker is told to read anew.
        const [stored] = await one.put([{ document: aDocument(1, 5), expected: 4 }])
        t.ok(stored === 5 || stored === -1, `${name}: ${stored}`)
        if (stored === -1) t.same(await one.put([{ document: aDocument(1, 5), expected: -1 }]), [5], name)
        t.same(await two.documents([1]), [aDocument(1, 5)], name)
        await one.put([{ document: whole, expected: 5 }])
      })
    })

    await t.test('a damaged document of a deleted customer is forgotten; it differs from a whole one', async (t) => {
      await complete()
      const live = await one.generation()
      const next = await open(live + 1)
      t.teardown(() => next.close())
      await next.put([{ document: aDocument(1, 4), expected: -1 }])
      await one.put([{ document: aDocument(1, 4), expected: -1 }])
      await damage(live + 1).documents(1, aDocument(1, 4), async (name) => {
        t.same(await one.differing([1], live + 1), [1], name)
        await one.forget([1])
        t.same(await next.lacking([1]), [1], name)
      })
      await one.dropGeneration(live + 1)
    })

    await t.test('a damaged checkpoint counts as none, and is set anew', async (t) => {
      await complete()
      const generation = await one.generation()
      await damage(generation).checkpoints(async (name) => {
        t.equal(await two.getCheckpoint(), null, name)
        t.same((await two.generations()).find(({ live }) => live)?.checkpoint, null, name)
        t.same(await two.setCheckpoint(aCheckpoint(8n), aCheckpoint(1n)), null, name)
        t.same(await two.setCheckpoint(aCheckpoint(7n), null), aCheckpoint(7n), name)
        t.same(await one.getCheckpoint(), aCheckpoint(7n), name)
      })
    })

    await t.test('a damaged parked event counts as none', async (t) => {
      await complete()
      const generation = await one.generation()
      await one.park(aParkedEvent(2))
      await damage(generation).parked(10, async (name) => {
        const found = (await one.parked()).filter(({ customerId }) => customerId === 10)
        t.same(found, [], name)
        await one.park(aParkedEvent(10))
        t.match((await two.parked()).at(-1), aParkedEvent(10), name)
        await one.unpark(10)
      })
    })

    await t.test('a damaged mark hides the document, and is set anew', async (t) => {
      await complete()
      const generation = await one.generation()
      await one.put([{ document: aDocument(1, 4), expected: -1 }])
      await damage(generation).marks(1, async (name) => {
        t.same(await two.get([1]), [NOTHING], name)
        await one.acknowledge(1, 4)
        t.same(await two.get([1]), [{ document: aDocument(1, 4), acknowledged: 4 }], name)
      })
    })

    await t.test('a damaged list of generations: the first is live', async (t) => {
      await complete()
      const generation = await one.generation()
      await damage(generation).generations(async (name) => {
        const handle = await open()
        t.equal(await handle.generation(), 1, name)
        t.equal(await handle.follow(), 1, name)
        t.match(await handle.generations(), [{ number: 1, live: true }], name)
        t.equal(await handle.switchGeneration(1, 2), true, name)
        t.equal(await handle.wanted(), 2, name)
        t.equal(await handle.switchGeneration(2, 1), true, name)
        await handle.dropGeneration(2)
        await handle.close()
      })
      await Promise.all([one.follow(), two.follow()])
    })

    await t.test('a scrub that is owed stays so until one that began later', async (t) => {
      await complete()
      t.equal(await one.isScrubOwed(), false)
      await one.oweScrub()
      await two.oweScrub()
      t.equal(await two.isScrubOwed(), true)
      await one.reset()
      t.equal(await two.isScrubOwed(), true, 'what was emptied is still on the disk')
      await two.scrub()
      t.equal(await one.isScrubOwed(), false)
      await one.oweScrub()
      const scrubbed = one.scrub()
      await two.oweScrub().then(() => scrubbed)
      await two.scrub()
      t.equal(await one.isScrubOwed(), false)
    })

    await t.test('reset forgets documents, marks and checkpoint', async (t) => {
      await complete()
      await one.put([{ document: aDocument(1, 4), expected: -1 }])
      await one.acknowledge(1, 4)
      await one.acknowledge(2, 1)
      await two.reset()
      t.same(await one.get([1, 2]), [NOTHING, NOTHING])
      t.same(await one.documents([1]), [null])
      t.equal(await one.getCheckpoint(), null)
      t.same(await one.put([{ document: aDocument(1, 0), expected: -1 }]), [0], 'and begins anew')
      await two.reset()
      await two.reset()
    })

    await t.test('it answers a ping', () => one.ping())

    await t.test('closing', async (t) => {
      const handle = await open()
      const last = handle.acknowledge(77, 1)
      await Promise.all([handle.close(), handle.close()])
      await handle.close()
      await last
      t.equal((await one.get([77]))[0]?.acknowledged, 1, 'what was under way is finished')
      const document = aDocument(1, 0)
      const uses: Record<string, () => Promise<unknown>> = {
        get: () => handle.get([1]),
        documents: () => handle.documents([1]),
        acknowledge: () => handle.acknowledge(1, 1),
        put: () => handle.put([{ document, expected: -1 }]),
        getCheckpoint: () => handle.getCheckpoint(),
        setCheckpoint: () => handle.setCheckpoint(aCheckpoint(1n), null),
        reset: () => handle.reset(),
        follow: () => handle.follow(),
        generations: () => handle.generations(),
        differing: () => handle.differing([1], 1),
        lacking: () => handle.lacking([1]),
        forget: () => handle.forget([1]),
        oweScrub: () => handle.oweScrub(),
        isScrubOwed: () => handle.isScrubOwed(),
        scrub: () => handle.scrub(),
        incarnations: () => handle.incarnations(),
        probe: () => handle.probe(),
        ping: () => handle.ping(),
      }
      for (const [call, use] of Object.entries(uses)) {
        await t.rejects(async () => void (await use()), ReadModelUnavailable, `${call} after it`)
      }
      await one.ping()
    })

    await empty()
  })
}
