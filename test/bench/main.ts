/**
 * `npm run bench`: what the service costs beside the least that could do the same, each as a ratio measured in one run.
 */
import { positive, readArguments, refuse, zeroOrMore } from '../support/arguments.ts'
import { compare, type Ratio } from './compare.ts'
import { gatewayBenches, gatewayFigures } from './gateway.ts'
import { createContenders } from './processes.ts'
import { requestBenches } from './requests.ts'
import { createServers } from './servers.ts'
import { table } from './table.ts'
import { throughputBenches } from './throughput.ts'

const USAGE = `npm run bench -- [NAME]... [--quick] [--rounds N] [--seconds N] ...

Without a name, all run but those of the second list. A name that does not exist is answered with those that do.

  peers     the gateway beside other gateways

  sign-in   whether the time of a refused sign-in tells who has an account
  scale     how operations grow with the log (scale/main.ts)
  scaling   one, two and four projections of a group (scaling.ts); part of scale, too
  memory    the gateway's memory through new documents and swaps of its supergraph
  start     start, memory at rest, and with --install the size of an install

  --quick        rounds of one second on short logs
  --rounds       (5)
  --seconds      of one round (3)
  --connections  that send requests (as many as the bench says)
  --warm-up      seconds before the rounds of requests (a round)
  --events       of a log (200,000; the rebuild has five times as many, gateway-memory half as many documents)
  --attempts     of sign-in (200)
  --customers, --operations, --full   of scale
  --processes    of scaling (1,2,4)
  --documents, --swaps   of memory (100,000 and 1,000)`

const CONFIG = {
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string' },
    connections: { type: 'string' },
    'warm-up': { type: 'string' },
    events: { type: 'string' },
    attempts: { type: 'string', default: '200' },
    quick: { type: 'boolean', default: false },
    full: { type: 'boolean', default: false },
    customers: { type: 'string' },
    operations: { type: 'string' },
    processes: { type: 'string', default: '1,2,4' },
    documents: { type: 'string', default: '100000' },
    swaps: { type: 'string', default: '1000' },
    install: { type: 'boolean', default: false },
  },
} as const
const { values, positionals } = readArguments(CONFIG, USAGE)
const rounds = positive('rounds', values.rounds)
const seconds = positive('seconds', values.seconds ?? (values.quick ? '1' : '3'))
const warmUp = positive('warm-up', values['warm-up'] ?? String(seconds))
const connections = values.connections === undefined ? {} : { connections: positive('connections', values.connections) }
const attempts = positive('attempts', values.attempts)
const documents = zeroOrMore('documents', values.documents)
const swaps = zeroOrMore('swaps', values.swaps)
const events = positive('events', values.events ?? (values.quick ? '20000' : '200000'))
const peers = [...Object.keys(gatewayBenches), ...Object.keys(gatewayFigures)]
const benches = [...Object.keys(requestBenches), ...Object.keys(throughputBenches), ...peers]
const SIGN_IN = 'sign-in'
const SCALE = 'scale'
const SCALING = 'scaling'
const MEMORY = 'memory'
const START = 'start'
const APART = [SIGN_IN, SCALE, SCALING, MEMORY, START]
const names = positionals.length > 0 ? positionals.flatMap((name) => (name === 'peers' ? peers : name)) : benches
for (const name of names) {
  if (!benches.includes(name) && !APART.includes(name)) {
    refuse(
      `There is no bench "${name}"; there are ${[...benches, ...APART].join(', ')}, and peers for the last ${peers.length}.`,
    )
  }
}

const servers = createServers()
const contenders = createContenders()
process.on('exit', contenders.stop)
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1))

const ratios: Ratio[] = []
// Benches that are not among all are loaded when one is asked for: they load the whole service.
for (const name of names) {
  console.error(`${name} ...`)
  const requests = requestBenches[name] ?? gatewayBenches[name]
  if (requests) {
    const comparison = { ...(await requests(contenders.start, servers)), ...connections }
    ratios.push(...(await compare(comparison, { rounds, seconds, warmUp })))
  }
  ratios.push(
    ...((await throughputBenches[name]?.(servers, { rounds, events, rebuildEvents: 5 * events, seconds })) ?? []),
  )
  ratios.push(...((await gatewayFigures[name]?.(contenders.start, servers, { rounds, documents: events / 2 })) ?? []))
  if (name === SCALE) {
    const { scaleBench, sizesOf } = await import('./scale/main.ts')
    const sizes = sizesOf(values.customers, values.full)
    console.log(await scaleBench(servers, contenders.start, { sizes, operations: values.operations?.split(',') ?? [] }))
  }
  // With `--operations`, scale runs these alone.
  if (name === SCALING || (name === SCALE && values.operations === undefined)) {
    const { processesOf, scalingBench } = await import('./scaling.ts')
    console.log(await scalingBench(servers, { processes: processesOf(values.processes), events }))
  }
  if (name === MEMORY) {
    const { memoryBench } = await import('./memory.ts')
    console.log(await memoryBench(servers, contenders.start, { documents, swaps }))
  }
  if (name === START) {
    const { startBench } = await import('./start.ts')
    console.log(await startBench({ rounds, install: values.install }))
  }
  if (name === SIGN_IN) {
    const { signInBench } = await import('./sign-in.ts')
    ratios.push(...(await signInBench(servers, attempts)))
  }
  contenders.stop()
  await servers.stop()
}
if (ratios.length > 0) console.log(table(ratios))
process.exit()
