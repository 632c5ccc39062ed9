/** Cases of the read-model contract: marks, documents and the checkpoint. */
import type { Test } from 'tap'
import type { ReadModel } from '../../../projections/read-model.ts'
import { aCheckpoint, aDocument, type Contract, NOTHING } from './support.ts'

export async function documentCases(t: Test, { one, two, empty, complete }: Contract): Promise<void> {
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
    await one.put([{ document: aDocument(3, 12), expected: -1 }])
    t.same(await one.put([{ document: aDocument(3, 2), expected: 1 }]), [12], 'not by its first digit')
    t.same(await one.documents([3]), [aDocument(3, 12)])
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
}
