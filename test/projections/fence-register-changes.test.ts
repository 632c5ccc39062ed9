/** What an instance changes in the register: given a register and what the instance knows, the next one. */
import t from 'tap'
import { NO_REGISTER, type Register } from '../../projections/fence/register.ts'
import {
  coverable,
  EXPIRY_MS,
  entriesOf,
  isAskedAbout,
  nextStep,
  type Situation,
  withFence,
} from '../../projections/fence/register-changes.ts'

const register = (fields: Partial<Register>): Register => ({ ...NO_REGISTER, revision: 7, ...fields })
const fence = (writer: string, challenger: string | null = null, answers = 0) => ({ writer, challenger, answers })

/** All entries have been there for ever, unless ages are given. */
const knowing = (fields: Partial<Situation> & { readonly ages?: number }): Situation => ({
  me: 'me',
  reached: [],
  isWhole: true,
  hasUnmarked: false,
  age: () => fields.ages ?? Number.POSITIVE_INFINITY,
  covered: new Set(),
  acceptsWrites: true,
  sinceContest: Number.POSITIVE_INFINITY,
  ...fields,
})

t.test('the first instance trusts what it reaches; without a read model it leaves that to others', async (t) => {
  t.match(nextStep(NO_REGISTER, knowing({ reached: ['a'] })), { trusted: ['a'], fences: [], retired: [] })
  t.equal(nextStep(NO_REGISTER, knowing({})), undefined)
  t.equal(
    nextStep(register({ trusted: ['a'] }), knowing({ reached: ['a'] })),
    undefined,
    'and then there is nothing to do',
  )
})

t.test('a new incarnation takes the place of the one before, and is not trusted yet', async (t) => {
  const next = nextStep(register({ trusted: ['a'] }), knowing({ reached: ['b'] }))
  t.match(next, { trusted: [], settling: [{ incarnation: 'b', by: 'me' }], retired: ['a'] })
  const cluster = nextStep(register({ trusted: ['a', 'b', 'c'] }), knowing({ reached: ['a', 'd', 'c'] }))
  t.match(cluster, { trusted: ['a', 'c'], settling: [{ incarnation: 'd', by: 'me' }], retired: ['b'] })
})

t.test(
  'it is trusted once the log is covered, not before the old leases are over, and by those who reach it',
  async (t) => {
    const settling = register({ settling: [{ incarnation: 'b', by: 'me' }], retired: ['a'] })
    t.same(coverable(settling, knowing({ reached: ['b'], ages: EXPIRY_MS - 1 })), [])
    t.same(coverable(settling, knowing({ reached: ['a'] })), [], 'an instance that reaches another one')
    const others = register({ settling: [{ incarnation: 'b', by: 'x' }] })
    t.same(coverable(others, knowing({ reached: ['b'], ages: EXPIRY_MS })), [], 'another one is at it')
    const due = coverable(settling, knowing({ reached: ['b'], ages: EXPIRY_MS }))
    t.equal(due.length, 1)
    t.match(nextStep(settling, knowing({ reached: ['b'], covered: new Set(due) })), { trusted: ['b'], settling: [] })
    t.equal(nextStep(settling, knowing({ reached: ['b'] })), undefined, 'not covered')
  },
)

t.test('others that are trusted, or about to be, stay so while they are reached', async (t) => {
  const by = 'me'
  const settling = [
    { incarnation: 'b', by },
    { incarnation: 'c', by: 'x' },
  ]
  const cluster = register({ trusted: ['a'], settling, retired: ['z'] })
  const [due = ''] = coverable(cluster, knowing({ reached: ['a', 'b'] }))
  const next = nextStep(cluster, knowing({ reached: ['a', 'b'], covered: new Set([due]) })) as Register
  t.match(next, { trusted: ['a', 'b'], settling: [{ incarnation: 'c' }], retired: ['z'] })
  t.equal(next.settling.length, 1)
  t.equal(nextStep(cluster, knowing({ reached: ['a'], covered: new Set([due]) })), undefined, 'no longer reached')

  const succeeded = nextStep(cluster, knowing({ reached: ['b', 'd'] })) as Register
  t.same(succeeded.settling, [
    { incarnation: 'b', by },
    { incarnation: 'd', by },
  ])
  t.same([succeeded.trusted, succeeded.retired], [[], ['z', 'a', 'c']])
  const many = Array.from({ length: 50 }, (_, index) => `old-${index}`)
  const last = nextStep(register({ trusted: ['a'], retired: many }), knowing({ reached: ['b'] }))
  t.same(last?.retired, [...many.slice(1), 'a'], 'the last fifty')
})

t.test('a fence: raised once, lifted by its writer when nothing is owed', async (t) => {
  const raised = withFence(register({ trusted: ['a'] }), 'me') as Register
  t.match(raised, { fences: [fence('me')], period: /./ })
  t.equal(withFence(raised, 'me'), undefined, 'it is there')
  t.match(
    withFence(raised, 'me', true),
    { fences: [fence('me', null, 1)], period: raised.period },
    'while it is being lifted',
  )
  const both = withFence(raised, 'x') as Register
  t.equal(both.period, raised.period, 'without a break')
  t.equal(
    nextStep(raised, knowing({ reached: ['a'], hasUnmarked: true, ages: 0 })),
    undefined,
    'kept while marks are owed',
  )
  t.match(nextStep(both, knowing({ reached: ['a'] })), { fences: [fence('x')], period: raised.period })
  t.match(nextStep(raised, knowing({ reached: ['a'] })), { fences: [], period: null })
})

t.test('the fence of a writer that is gone is lifted; of one that answers it is kept', async (t) => {
  const left = register({ trusted: ['a'], fences: [fence('gone')], period: 'p' })
  t.equal(nextStep(left, knowing({ reached: ['a'], ages: 2_000 })), undefined, 'at first it is let be')
  t.equal(nextStep(left, knowing({ reached: [] })), undefined, 'who does not reach the read model can do nothing')
  t.equal(nextStep(left, knowing({ reached: ['a'], acceptsWrites: false })), undefined, 'nor does one whom it refuses')
  t.equal(nextStep(left, knowing({ reached: ['a'], hasUnmarked: true })), undefined)
  t.equal(isAskedAbout(left, 'gone'), false)
  const asked = nextStep(left, knowing({ reached: ['a'] })) as Register
  t.match(asked.fences, [fence('gone', 'me')])
  t.equal(isAskedAbout(asked, 'gone'), true, 'which tells the writer that others reach the read model')
  t.equal(isAskedAbout(asked, 'me'), false)
  t.equal(nextStep(asked, knowing({ reached: ['a'] })), undefined, 'it is asked about once, and has time to answer')
  t.same(coverable(left, knowing({ reached: ['a'] })), [], 'it has to be asked about')
  const two = register({ trusted: ['a'], fences: [fence('gone'), fence('y')], period: 'p' })
  t.same(nextStep(two, knowing({ reached: ['a'] }))?.fences, [fence('gone', 'me'), fence('y')])

  const answer = nextStep(asked, knowing({ me: 'gone', hasUnmarked: true, reached: ['a'] })) as Register
  t.match(answer, { fences: [fence('gone', null, 1)], period: 'p' }, 'the writer is there')
  t.equal(nextStep(answer, knowing({ reached: ['a'], ages: 4_000 })), undefined, 'and is not asked again so soon')
  t.equal(isAskedAbout(answer, 'gone'), true)
  const often = { ...left, fences: [fence('gone', null, 30)] }
  t.ok(nextStep(often, knowing({ reached: ['a'], ages: 48_000 })), 'but every 48 s, however often it has answered')

  t.same(coverable(asked, knowing({ reached: ['a'], ages: EXPIRY_MS - 1 })), [], 'its lease may go on')
  const due = coverable(asked, knowing({ reached: ['a'], ages: EXPIRY_MS }))
  t.match(nextStep(asked, knowing({ reached: ['a'], covered: new Set(due) })), { fences: [], period: null })
  t.match(
    nextStep(answer, knowing({ reached: ['a'], covered: new Set(due), ages: 0 })) ?? answer,
    { fences: [fence('gone', null, 1)] },
    'it answered meanwhile',
  )
  const askedAgain = nextStep(answer, knowing({ reached: ['a'] })) as Register
  t.match(askedAgain.fences, [fence('gone', 'me', 1)])
  t.equal(
    nextStep(askedAgain, knowing({ reached: ['a'], covered: new Set(due) })),
    undefined,
    'nor by an earlier answer',
  )
})

t.test('a retired incarnation comes back only where nobody objects', async (t) => {
  const split = register({ trusted: ['b'], retired: ['a'] })
  const contested = nextStep(split, knowing({ reached: ['a'] })) as Register
  t.match(contested, { contest: { incarnation: 'a', by: 'me' }, trusted: ['b'] })
  t.equal(nextStep(split, knowing({ reached: ['a'], sinceContest: 1_000 })), undefined, 'not again and again')
  t.match(nextStep(contested, knowing({ me: 'x', reached: ['b'] })), { contest: null, trusted: ['b'] }, 'an objection')
  t.equal(nextStep(contested, knowing({ me: 'x', reached: ['b'], isWhole: false, ages: 0 })), undefined)
  t.equal(nextStep(contested, knowing({ reached: ['a'], ages: 1_000 })), undefined, 'time to object')
  const back = { contest: null, trusted: [], settling: [{ incarnation: 'a', by: 'me' }], retired: ['b'] }
  t.match(nextStep(contested, knowing({ reached: ['a'] })), back)
  t.match(nextStep(contested, knowing({ reached: ['b'] })), { contest: null, retired: ['a'] }, 'given up')
  t.equal(nextStep(split, knowing({ reached: ['a'], ages: 0 })), undefined, 'it was retired a moment ago')
  const both = knowing({ me: 'x', reached: ['a', 'b'], ages: 0 })
  t.equal(nextStep(contested, both), undefined, 'who reaches both does not object')
  t.match(nextStep(contested, knowing({ me: 'x' })), { contest: null }, 'it was left')
  const another = register({ ...contested, retired: ['a', 'z'] })
  t.equal(nextStep(another, knowing({ me: 'x', reached: ['z'], ages: 4_000 })), undefined, 'one at a time')
})

t.test('what matters by its age has a name', async (t) => {
  const full = register({
    settling: [{ incarnation: 'b', by: 'me' }],
    retired: ['a'],
    contest: { incarnation: 'a', by: 'x' },
    period: 'p',
    fences: [fence('w')],
  })
  t.equal(new Set(entriesOf(full)).size, 6)
  t.same(entriesOf(register({ trusted: ['a'] })), [])
  const settling = (by: string) => register({ settling: [{ incarnation: 'b', by }] })
  const contest = (by: string) => register({ contest: { incarnation: 'a', by } })
  const fences = [fence('w'), fence('w', 'x'), fence('w', 'y'), fence('w', 'x', 1)]
  const names = [
    ...[settling('x'), settling('y'), contest('x'), contest('y')].flatMap(entriesOf),
    ...fences.map((each) => entriesOf(register({ fences: [each] }))[1]),
  ]
  t.equal(new Set(names).size, 8, 'another one, if another instance is at it')
  t.equal(new Set(fences.map((each) => entriesOf(register({ fences: [each] }))[0])).size, 2, 'or it was answered')
})
