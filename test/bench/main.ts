/**
 * `npm run bench`: what the service costs beside the least that could do the same, each as a ratio measured in one run.
 *
 *     npm run bench                   all
 *     npm run bench -- query gateway  the named ones
 *
 * Options: `--rounds` (5), `--seconds` of one round (3), `--events` of a log (200,000; the rebuild has five times as many),
 * `--quick` for rounds of one second on short logs.
 */
import { parseArgs } from 'node:util'
import { compare, type Ratio } from './compare.ts'
import { createContenders } from './processes.ts'
import { requestBenches } from './requests.ts'
import { createServers } from './servers.ts'
import { table } from './table.ts'
import { throughputBenches } from './throughput.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string' },
    events: { type: 'string' },
    quick: { type: 'boolean', default: false },
  },
})
const rounds = Number(values.rounds)
const seconds = Number(values.seconds ?? (values.quick ? 1 : 3))
const events = Number(values.events ?? (values.quick ? 20_000 : 200_000))
const benches = [...Object.keys(requestBenches), ...Object.keys(throughputBenches)]
const names = positionals.length > 0 ? positionals : benches
for (const name of names) {
  if (!benches.includes(name)) {
    console.error(`There is no bench "${name}"; there are ${benches.join(', ')}.`)
    process.exit(1)
  }
}

const servers = createServers()
const contenders = createContenders()
process.on('exit', contenders.stop)
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1))

const ratios: Ratio[] = []
for (const name of names) {
  console.error(`${name} ...`)
  const requests = requestBenches[name]
  if (requests) ratios.push(...(await compare(await requests(contenders.start, servers), { rounds, seconds })))
  ratios.push(
    ...((await throughputBenches[name]?.(servers, { rounds, events, rebuildEvents: 5 * events, seconds })) ?? []),
  )
  contenders.stop()
  await servers.stop()
}
console.log(table(ratios))
process.exit()
