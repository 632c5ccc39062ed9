/** Our histograms are exported to the letter as prom-client's own. */
import { Histogram, Registry } from 'prom-client'
import t from 'tap'
import { createHistogram } from '../../runtime/histogram.ts'

const described = {
  name: 'call_seconds',
  help: 'How long "calls" took.',
  labelNames: ['service', 'outcome'] as const,
  buckets: [0.001, 0.25, 1, 10],
}
const users = { service: 'users', outcome: 'answered' }
const reviews = { service: 'a "quoted"\nname', outcome: 'failed' }
/** On the bounds, beside them, and above all of them. */
const values = [0, 0.001, 0.0011, 0.25, 0.3, 1, 10, 10.5, 3_600]

/** Without prom-client's exemplars, which are not in use. */
const withoutExemplars = (key: string, value: unknown) => (key === 'exemplar' ? undefined : value)

async function exported(registry: Registry) {
  const json = JSON.parse(JSON.stringify(await registry.getMetricsAsJSON(), withoutExemplars))
  return { text: await registry.metrics(), json }
}

t.test('the same values give the same export', async (t) => {
  const [registry, reference] = [new Registry(), new Registry()]
  const ours = createHistogram({ ...described, registers: [registry] })
  const theirs = new Histogram({ ...described, buckets: [...described.buckets], registers: [reference] })
  t.same(await exported(registry), await exported(reference), 'without a series')

  const observe = ours.series(users)
  theirs.labels(users)
  t.same(await exported(registry), await exported(reference), 'with one that has no value')

  for (const value of values) {
    observe(value)
    theirs.observe(users, value)
  }
  ours.series(reviews)(0.5)
  theirs.observe(reviews, 0.5)
  t.same(await exported(registry), await exported(reference), 'with two series')

  ours.series({ outcome: 'answered', service: 'users' })(2)
  theirs.observe(users, 2)
  t.same(await exported(registry), await exported(reference), 'the same labels are the same series, in any order')

  ours.remove(users)
  theirs.remove(users)
  t.same(await exported(registry), await exported(reference), 'a series that was removed')

  ours.series(users)(5)
  theirs.observe(users, 5)
  t.same(await exported(registry), await exported(reference), 'one that begins again')
})

t.test('a name is registered once', async (t) => {
  const registers = [new Registry()]
  createHistogram({ ...described, registers })
  t.throws(() => createHistogram({ ...described, registers }), /already been registered/)
})

t.test('after a reset of the registry, series that were begun before go on', async (t) => {
  const [registry, reference] = [new Registry(), new Registry()]
  const observe = createHistogram({ ...described, registers: [registry] }).series(users)
  const theirs = new Histogram({ ...described, labelNames: ['service', 'outcome'], registers: [reference] })
  for (const value of values) {
    observe(value)
    theirs.observe(users, value)
    registry.resetMetrics()
    reference.resetMetrics()
    t.same(await exported(registry), await exported(reference))
  }
  observe(2)
  theirs.observe(users, 2)
  t.same(await exported(registry), await exported(reference))
  t.same(structuredClone(await registry.getMetricsAsJSON()), await registry.getMetricsAsJSON(), 'no functions in it')
})
