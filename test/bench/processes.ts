/** The contenders: each a process of its own, so that none shares an event loop or a heap with another or with the load. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'

export interface Contender {
  /** Origin of its server. */
  readonly url: string
  /** GraphQL endpoints by the subgraph's name, where it serves several. */
  readonly subgraphs: Readonly<Record<string, string>>
  /** Microseconds of CPU that it has used. */
  cpu(): Promise<number>
  /** MiB: of its heap after a garbage collection, and of the process. */
  memory(): Promise<{ readonly heap: number; readonly resident: number }>
  /** Stops it before the others. */
  stop(): void
}

/** Starts `contenders/<name>.ts`, or `peers/<name>.js`, with options for it. @throws Error when it ends before it listens */
export type StartContender = (name: string, options: object) => Promise<Contender>

/** As `bin/customers.js` starts it. */
const GATEWAY = {
  options: ['--max-semi-space-size=24', '--heap-growing-percent=30'],
  env: { MALLOC_ARENA_MAX: '2' },
}

export function createContenders(): { readonly start: StartContender; readonly stop: () => void } {
  const children: ChildProcess[] = []
  return {
    async start(name, options) {
      const script = join(import.meta.dirname, name.startsWith('peers/') ? `${name}.js` : `contenders/${name}.ts`)
      const child = fork(script, [JSON.stringify(options)], {
        env: {
          ...(name === 'gateway' && GATEWAY.env),
          ...process.env,
          ...{ APOLLO_TELEMETRY_DISABLED: '1', NODE_ENV: 'production' },
        },
        // As package.json starts the other processes of the service.
        execArgv: name === 'gateway' ? GATEWAY.options : ['--max-semi-space-size=32'],
      })
      children.push(child)
      const ended = once(child, 'exit').then(([code, signal]) => {
        throw new Error(`contender ${name} ended: ${signal ?? code}`)
      })
      ended.catch(() => {}) // whoever waits for a message, or the load, meets it
      const told = () => Promise.race([once(child, 'message').then(([message]) => message), ended])
      const { url, subgraphs } = await told()
      return {
        url,
        subgraphs,
        async cpu() {
          child.send('cpu')
          const { user, system } = await told()
          return user + system
        },
        async memory() {
          child.send('memory')
          const { heapUsed, rss } = await told()
          return { heap: heapUsed / 2 ** 20, resident: rss / 2 ** 20 }
        },
        stop: () => void child.kill('SIGKILL'),
      }
    },
    stop() {
      for (const child of children) child.kill('SIGKILL')
    },
  }
}
