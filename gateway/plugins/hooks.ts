/** The hooks of one HTTP request, and of each of its operations. */
import type { IncomingHttpHeaders } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { GraphQLFormattedError } from 'graphql'
import { traceIds } from '../../runtime/tracing.ts'
import { RequestError } from '../errors.ts'
import { parseKeepingDigits } from '../exact-numbers.ts'
import { firstCategory } from '../execution/executor.ts'
import { type Answer, addVary, errorBody } from '../http/answers.ts'
import type { Metrics, Outcome } from '../metrics.ts'
import type { Operation } from '../planning/operations.ts'
import type { OperationInfo, PluginContext, PluginOperation, PluginRequest, PluginResponse } from '../plugin.ts'
import type { SubgraphHooks, SubgraphRequest } from '../subgraphs/client.ts'
import { checkedHeader } from './headers.ts'
import { closePlugins, type LoadedPlugin } from './load.ts'
import { type HookedRequest, PluginError, Rejectable, runSteps, type Step, shownFailure, stepsOf } from './run.ts'
import { hookedRequest, PluginSubgraphCall } from './subgraph-call.ts'

/** The plugins of a gateway. */
export interface Plugins {
  /** Begins the hooks of an HTTP request. */
  begin(request: FastifyRequest, reply: FastifyReply): RequestHooks
  /** Whether any of them has onSubgraphRequest. */
  readonly hasSubgraphHooks: boolean
  close(): Promise<void>
}

interface Steps {
  readonly onRequest: readonly Step<RequestArgument>[]
  readonly onOperation: readonly Step<OperationArgument>[]
  readonly onSubgraphRequest: readonly Step<PluginSubgraphCall>[]
  readonly onResponse: readonly Step<ResponseArgument>[]
}

export function createPlugins(plugins: readonly LoadedPlugin[], metrics: Metrics): Plugins {
  const steps: Steps = {
    onRequest: stepsOf(plugins, 'onRequest'),
    onOperation: stepsOf(plugins, 'onOperation'),
    onSubgraphRequest: stepsOf(plugins, 'onSubgraphRequest'),
    onResponse: stepsOf(plugins, 'onResponse'),
  }
  return {
    begin: (request, reply) => new RequestHooks(steps, metrics, request, reply),
    hasSubgraphHooks: steps.onSubgraphRequest.length > 0,
    close: () => closePlugins(plugins),
  }
}

/** What the hooks of an HTTP request have in common. */
export class RequestHooks implements HookedRequest {
  readonly context: PluginContext = Object.create(null)
  readonly steps: Steps
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  /** Whether onRequest has been called: a request that was refused earlier reaches no plugin. */
  isBegun = false
  readonly #metrics: Metrics

  constructor(steps: Steps, metrics: Metrics, request: FastifyRequest, reply: FastifyReply) {
    this.steps = steps
    this.#metrics = metrics
    this.request = request
    this.reply = reply
  }

  get id(): string {
    return this.request.id
  }

  readonly failed = (plugin: string, hook: string, error: unknown): void => {
    this.#metrics.pluginFailure(plugin, hook)
    const trace = traceIds(this.request.headers.traceparent)
    this.request.log.error({ plugin, hook, ...shownFailure(error), ...trace }, 'A plugin failed')
  }

  /** @throws RequestError if a plugin refuses the request or fails */
  async onRequest(): Promise<void> {
    this.isBegun = true
    if (this.steps.onRequest.length === 0) return
    const argument = new RequestArgument(this)
    await refusing(runSteps(this.steps.onRequest, argument, this))
  }

  forOperation(): OperationHooks {
    return new OperationHooks(this)
  }

  /**
   * The answer to a request that was refused, after onResponse.
   * @param operation its hooks, if the operation was known by then
   */
  refused(error: RequestError, operation = this.forOperation()): Promise<Answer> {
    return operation.onResponse({ text: errorBody(error.errors), error }, 'rejected', NO_METRICS)
  }
}

const NO_METRICS: PluginResponse['metrics'] = { ms: 0, planMs: 0, subgraphMs: 0, subgraphAnswers: 0 }

/** Turns a plugin's error into one that refuses the whole request. */
export async function refusing<T>(work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    throw error instanceof PluginError ? new RequestError([error], error.status) : error
  }
}

class RequestArgument extends Rejectable implements PluginRequest {
  readonly id: string
  readonly method: 'GET' | 'POST'
  readonly headers: IncomingHttpHeaders
  readonly ip: string
  readonly context: PluginContext

  constructor({ request, context }: RequestHooks) {
    super()
    this.id = request.id
    this.method = request.method as 'GET' | 'POST'
    this.headers = request.headers
    this.ip = request.ip
    this.context = context
  }

  readonly setHeader = (name: string, value: string | undefined): void => {
    const lower = checkedHeader(name, value)
    if (value === undefined) delete this.headers[lower]
    else this.headers[lower] = value
  }
}

interface OperationArgument extends Rejectable, Omit<PluginOperation, 'reject'> {}
interface ResponseArgument extends PluginResponse {
  errors: readonly GraphQLFormattedError[]
  readonly refusal?: undefined
}

/** The hooks of one operation: each entry of a batch has its own. */
export class OperationHooks implements SubgraphHooks {
  readonly #request: RequestHooks
  #operation: OperationInfo | undefined

  constructor(request: RequestHooks) {
    this.#request = request
  }

  /**
   * Asks the plugins.
   * @param claims of the verified token
   * @throws RequestError if a plugin refuses the operation or fails
   */
  async onOperation(claims: Readonly<Record<string, unknown>> | undefined): Promise<void> {
    const { id, context, request, steps } = this.#request
    if (steps.onOperation.length === 0) return
    const { name, type, hash, fields } = this.#operation as OperationInfo
    const { headers } = request
    const argument = Object.assign(new Rejectable(), { id, context, headers, claims, name, type, hash, fields })
    await refusing(runSteps(steps.onOperation, argument, this.#request))
  }

  /** Notes the operation, for the hooks to come. */
  found({ node, type, hash, fields }: Operation): void {
    this.#operation ??= {
      name: node.name?.value,
      type,
      hash,
      get fields() {
        return fields()
      },
    }
  }

  onSubgraphRequest(subgraph: string, request: SubgraphRequest): Promise<SubgraphRequest> {
    const { steps, context } = this.#request
    const call = new PluginSubgraphCall(this.#request, subgraph, request, this.#operation as OperationInfo, context)
    return hookedRequest(steps.onSubgraphRequest, call, request, this.#request)
  }

  /** Whether a plugin sees answers, and so may change their errors. */
  get changesAnswers(): boolean {
    return this.#request.steps.onResponse.length > 0
  }

  /** @returns the answer with the plugins' changes, or that of a plugin that failed */
  async onResponse(answer: Answer, outcome: Outcome, metrics: PluginResponse['metrics']): Promise<Answer> {
    const { steps, reply, id, context } = this.#request
    if (steps.onResponse.length === 0) return answer
    const written = JSON.stringify(answer.error?.errors ?? answer.errors ?? [])
    let after: readonly GraphQLFormattedError[] | undefined
    /** Written once no plugin has failed. */
    const headers: [name: string, value: string][] = []
    const argument: ResponseArgument = {
      id,
      operation: this.#operation,
      context,
      outcome,
      metrics,
      // A copy: whatever plugins do to it, the answer has what `setErrors` was given.
      errors: parseKeepingDigits(written) as GraphQLFormattedError[],
      setErrors(errors: readonly GraphQLFormattedError[]) {
        after = checkedErrors(errors, answer.error !== undefined)
        argument.errors = after
      },
      setHeader(name: string, value: string) {
        headers.push([checkedHeader(name, value), value])
      },
    }
    try {
      await runSteps(steps.onResponse, argument, this.#request)
    } catch (error) {
      if (!(error instanceof PluginError)) throw error
      const refused = new RequestError([error], error.status)
      return { text: errorBody(refused.errors), error: refused }
    }
    for (const [name, value] of headers) {
      if (name === 'vary') addVary(reply, value)
      else reply.header(name, value)
    }
    return after === undefined ? answer : withErrors(answer, written, after)
  }
}

/** @returns a copy. @throws TypeError for what is not a list of errors, or no JSON */
function checkedErrors(errors: unknown, isRefused: boolean): readonly GraphQLFormattedError[] {
  if (!Array.isArray(errors)) throw new TypeError('Errors are a list.')
  if (isRefused && errors.length === 0) throw new TypeError('An answer without data needs an error.')
  const picked = errors.map((error: unknown) => {
    const { message, path, locations, extensions } = (error ?? {}) as GraphQLFormattedError
    if (typeof message !== 'string') throw new TypeError('An error needs a message.')
    if (path && !Array.isArray(path)) throw new TypeError('The path of an error is a list.')
    if (locations && !Array.isArray(locations)) throw new TypeError('The locations of an error are a list.')
    if (extensions && typeof extensions !== 'object') throw new TypeError('The extensions of an error are an object.')
    return {
      message,
      ...(locations && { locations }),
      ...(path && { path }),
      ...(extensions && { extensions }),
    }
  })
  return parseKeepingDigits(JSON.stringify(picked)) as GraphQLFormattedError[]
}

/**
 * The answer with other errors. Its data stay as they are written: parsing them could change long numbers.
 * @param before the errors in its text, as JSON
 * @param after the new ones
 */
function withErrors(answer: Answer, before: string, after: readonly GraphQLFormattedError[]): Answer {
  if (answer.error) return { ...answer, text: errorBody(after) }
  const old = before === '[]' ? '' : `,"errors":${before}`
  const at = answer.text.lastIndexOf(old)
  const rest = answer.text.slice(0, at) + answer.text.slice(at + old.length)
  const text = after.length > 0 ? `${rest.slice(0, -1)},"errors":${JSON.stringify(after)}}` : rest
  return { ...answer, text, errors: after, category: firstCategory(after) }
}
