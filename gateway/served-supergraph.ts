/** The supergraph that is served: loaded at start, watched, and replaced when it changes. */
import { readFileSync } from 'node:fs'
import type { FastifyBaseLogger } from 'fastify'
import { createCompiledExecutor } from './execution/compiled-executor.ts'
import type { Executor } from './execution/executor.ts'
import { createIncrementalExecutor } from './execution/incremental-executor.ts'
import type { Metrics } from './metrics.ts'
import { createOperations, type Operations, type OperationsOptions } from './planning/operations.ts'
import { type LoadedSupergraph, loadSupergraph } from './planning/supergraph.ts'
import { warmUp } from './planning/warm-up.ts'
import type { SubgraphAddress, SubgraphClient, SubgraphClients } from './subgraphs/client.ts'
import type { SubgraphEndpoint } from './subscriptions/subgraph-streams.ts'
import { watchText } from './watch-file.ts'

/** A supergraph file that can't be served; the message names it. */
class SupergraphError extends Error {
  override readonly name = 'SupergraphError'
  readonly code = 'GTW_ERR_SUPERGRAPH'
}

/** A loaded supergraph; a request keeps the one that it began with. */
export interface Graph {
  readonly supergraph: LoadedSupergraph
  readonly operations: Operations
  /** Where the subgraphs are, for their streams. */
  readonly endpoints: Readonly<Record<string, SubgraphEndpoint>>
  /** The subgraphs, with the URLs at which they are called. */
  readonly subgraphs: readonly SubgraphAddress[]
}

export interface ServedGraph {
  /** The current supergraph; it changes with the file. */
  readonly current: Graph
  /** Calls the listener after each change. */
  readonly onChange: (listener: () => void) => void
  /** Ends the watch. */
  readonly close: () => void
}

export type CreateExecutor = (
  supergraph: LoadedSupergraph,
  subgraphs: Readonly<Record<string, SubgraphClient>>,
) => Executor

export interface GraphOptions
  extends Omit<OperationsOptions, 'compile' | 'compileRestricted' | 'compileDeferred' | 'countOf'> {
  /** Executes what needs no authorization in place of the compiled executor. Default: the compiled one executes all. */
  readonly createExecutor?: CreateExecutor | undefined
  /** Whether clients may use `@defer`. */
  readonly defers: boolean
  readonly clients: SubgraphClients
  /** URLs by subgraph name; they override those of the supergraph. */
  readonly urlOf: (name: string) => string | undefined
  /** Headers that only this subgraph gets: names and values in turn. */
  readonly headersFor: (name: string) => readonly string[]
  /** The largest answer to a client, in bytes. */
  readonly answerLimit: number
  readonly metrics: Metrics
}

/**
 * Serves the supergraph of a file. If a changed file can't be served, that is logged and counted, and the previous
 * supergraph stays.
 * @param intervalMs how often the file is checked
 * @throws SupergraphError
 */
export function serveGraph(
  path: string,
  intervalMs: number,
  options: GraphOptions,
  log: FastifyBaseLogger,
): ServedGraph {
  const { clients, metrics } = options
  const listeners: (() => void)[] = []
  let current: Graph
  let text = ''
  try {
    text = readFileSync(path, 'utf8')
    current = loadGraph(text, options)
  } catch (error) {
    throw new SupergraphError(`${path} can't be served: ${reasonOf(error as Error, text)}`, { cause: error })
  }
  metrics.supergraph(current.supergraph.hash)

  /** Counts the files that were read, so that a later one is never replaced by an earlier one. */
  let reads = 0

  async function swap(sdl: string): Promise<void> {
    const read = ++reads
    const isLast = () => read === reads
    try {
      const next = loadGraph(sdl, options)
      if (next.supergraph.hash === current.supergraph.hash) {
        metrics.supergraphCurrent()
        return
      }
      const prepared = await warmUp(next.operations, current.operations, isLast)
      if (!isLast()) return
      current = next
      // Requests under way keep the supergraph that they began with. Nothing else may, or each swap would leak one.
      metrics.keepSubgraphs(next.subgraphs.map(({ name }) => name))
      metrics.supergraph(next.supergraph.hash)
      metrics.supergraphCurrent()
      for (const listener of listeners) listener()
      log.info({ supergraph: next.supergraph.hash, prepared }, 'Supergraph changed')
    } catch (error) {
      keep(error as Error, sdl)
    } finally {
      // Of a file that came later: it frees them itself.
      if (isLast()) clients.keep(current.subgraphs)
    }
  }

  function keep(error: Error, sdl = ''): void {
    metrics.supergraphFailure()
    log.error(
      { reason: reasonOf(error, sdl), supergraph: current.supergraph.hash },
      'The changed supergraph cannot be served; the previous one stays',
    )
  }

  const unwatch = watchText(path, intervalMs, text, swap, keep)
  return {
    get current() {
      return current
    },
    onChange: (listener) => listeners.push(listener),
    close: () => {
      reads++
      unwatch()
    },
  }
}

/** Why a file can't be served. What a newcomer is likely to name in place of a supergraph is told apart. */
function reasonOf(error: Error, text: string): string {
  const compose = 'run `npm run compose -- FILE.yaml`, and name the .graphql file that it writes'
  if ((error as NodeJS.ErrnoException).code === 'EISDIR') return 'it is a folder: name the file in it'
  if (/^subgraphs\s*:/m.test(text)) return `it is a configuration: ${compose}`
  const isSubgraph = /specs\.apollo\.dev\/federation\/v|@key\s*\(/.test(text) && !text.includes('join__Graph')
  return isSubgraph ? `it is the schema of one subgraph: name it in a configuration, ${compose}` : error.message
}

/** @throws Error for a supergraph that can't be served */
function loadGraph(sdl: string, options: GraphOptions): Graph {
  const { createExecutor, defers, clients, urlOf, headersFor, answerLimit, metrics, ...limits } = options
  const supergraph = loadSupergraph(sdl, defers)
  const subgraphs = supergraph.subgraphs.map(({ name, url }) => ({ name, url: urlOf(name) ?? url }))
  const endpoints = Object.fromEntries(subgraphs.map(({ name, url }) => [name, { url, headers: headersFor(name) }]))
  const calls = Object.fromEntries(
    Object.entries(endpoints).map(([name, { url, headers }]) => [name, clients.client(name, url, headers)]),
  )
  const compileRestricted = createCompiledExecutor(supergraph, calls, answerLimit)
  const compile = createExecutor?.(supergraph, calls) ?? compileRestricted
  // Apollo's executor knows no deferred plans.
  const compileDeferred =
    defers && !createExecutor ? createIncrementalExecutor(supergraph, calls, answerLimit) : undefined
  const compilers = { compile, compileRestricted, compileDeferred, countOf: metrics.operation }
  const operations = createOperations(supergraph, { ...limits, ...compilers })
  return { supergraph, operations, subgraphs, endpoints }
}
