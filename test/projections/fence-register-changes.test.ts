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

  const answer = nextStep(asked, knowing({ me: 'gone', hasUnmarked: true, reached: ['a'] })) as Register
  t.match(answer, { fences: [fence('gone', null, 1)], period: 'p' }, 'the writer is there')
  t.equal(nextStep(answer, knowing({ reached: ['a'], ages: 4_000 })), undefined, 'and is not asked again so soon')

  t.same(coverable(asked, knowing({ reached: ['a'], ages: EXPIRY_MS - 1 })), [], 'its lease may go on')
  const due = coverable(asked, knowing({ reached: ['a'], ages: EXPIRY_MS }))
  t.match(nextStep(asked, knowing({ reached: ['a'], covered: new Set(due) })), { fences: [], period: null })
  t.match(
    nextStep(answer, knowing({ reached: ['a'], covered: new Set(due), ages: 0 })) ?? answer,
    { fences: [fence('gone', null, 1)] },
    'it answered meanwhile',
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
})
