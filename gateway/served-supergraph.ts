/** The supergraph that is served: loaded at start, watched, and replaced when it changes. */
import { readFileSync } from 'node:fs'
import type { FastifyBaseLogger } from 'fastify'
import { createCompiledExecutor } from './execution/compiled-executor.ts'
import type { Executor } from './execution/executor.ts'
import { createIncrementalExecutor } from './execution/incremental-executor.ts'
import type { Metrics } from './metrics.ts'
import { createOperations, type Operations, type OperationsOptions } from './planning/operations.ts'
import { type LoadedSupergraph, loadSupergraph } from './planning/supergraph.ts'
import type { SubgraphClient, SubgraphClients } from './subgraphs/client.ts'
import { watchText } from './watch-file.ts'

/** A supergraph file that can't be served; the message names it. */
class SupergraphError extends Error {
  override readonly name = 'SupergraphError'
  readonly code = 'GTW_ERR_SUPERGRAPH'
}

/** A loaded supergraph; a request keeps the one that it began with. */
interface Graph {
  readonly supergraph: LoadedSupergraph
  readonly operations: Operations
}

export interface ServedGraph {
  /** The current supergraph; it changes with the file. */
  readonly current: Graph
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
  const { metrics } = options
  let current: Graph
  try {
    current = loadGraph(readFileSync(path, 'utf8'), options)
  } catch (error) {
    throw new SupergraphError(`${path} can't be served: ${(error as Error).message}`, { cause: error })
  }
  metrics.supergraph(current.supergraph.hash)

  function swap(sdl: string): void {
    try {
      const next = loadGraph(sdl, options)
      if (next.supergraph.hash === current.supergraph.hash) return
      current = next
      metrics.supergraph(next.supergraph.hash)
      log.info({ supergraph: next.supergraph.hash }, 'Supergraph changed')
    } catch (error) {
      keep(error as Error)
    }
  }

  function keep(error: Error): void {
    metrics.supergraphFailure()
    log.error(
      { reason: error.message, supergraph: current.supergraph.hash },
      'The changed supergraph cannot be served; the previous one stays',
    )
  }

  const close = watchText(path, intervalMs, swap, keep)
  return {
    get current() {
      return current
    },
    close,
  }
}

/** @throws Error for a supergraph that can't be served */
function loadGraph(sdl: string, options: GraphOptions): Graph {
  const { createExecutor, defers, clients, urlOf, headersFor, answerLimit, metrics, ...limits } = options
  const supergraph = loadSupergraph(sdl, defers)
  const subgraphs = Object.fromEntries(
    supergraph.subgraphs.map(({ name, url }) => [name, clients.client(name, urlOf(name) ?? url, headersFor(name))]),
  )
  const compileRestricted = createCompiledExecutor(supergraph, subgraphs, answerLimit)
  const compile = createExecutor?.(supergraph, subgraphs) ?? compileRestricted
  // Apollo's executor knows no deferred plans.
  const compileDeferred =
    defers && !createExecutor ? createIncrementalExecutor(supergraph, subgraphs, answerLimit) : undefined
  const compilers = { compile, compileRestricted, compileDeferred, countOf: metrics.operation }
  return { supergraph, operations: createOperations(supergraph, { ...limits, ...compilers }) }
}
