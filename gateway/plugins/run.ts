/**
 * Runs one hook of all plugins in their order, each within its time limit. What a plugin does wrong refuses what the
 * hook is about.
 */
import { GraphQLError } from 'graphql'
import { within } from '../../runtime/time-limits.ts'
import type { Rejection } from '../plugin.ts'
import type { LoadedPlugin } from './load.ts'

/** A plugin has refused something, or has failed. The error is for clients; it has a code, and a path at a field. */
export class PluginError extends GraphQLError {
  override readonly name = 'PluginError'
  /** The HTTP status if the whole request is refused. */
  readonly status: number

  constructor(message: string, status: number, extensions: Readonly<Record<string, unknown>>) {
    super(message, { extensions })
    this.status = status
  }
}

/**
 * Thrown by `reject`, to end the hook. It carries the refusal: a plugin may keep a promise that `reject` has ended, and
 * await it in a later request. Then that one is refused, too.
 */
class PluginRejection extends Error {
  override readonly name = 'PluginRejection'
  readonly code = 'GTW_ERR_PLUGIN_REJECTION'
  readonly #refusal: PluginError

  constructor(refusal: PluginError) {
    super('The plugin refuses the request.')
    this.#refusal = refusal
  }

  /** The refusal in what was thrown, if there is one. It runs no code of what was thrown, as `instanceof` would. */
  static refusalIn(thrown: unknown): PluginError | undefined {
    return typeof thrown === 'object' && thrown !== null && #refusal in thrown ? thrown.#refusal : undefined
  }
}

class PluginTimeout extends Error {
  override readonly name = 'PluginTimeout'
  readonly code = 'GTW_ERR_PLUGIN_TIMEOUT'
}

/** Told of each failure of a plugin. @param error may quote tokens or personal data: see {@link shownFailure} */
type OnPluginFailure = (plugin: string, hook: string, error: unknown) => void

/** The request that a hook belongs to. */
export interface HookedRequest {
  readonly id: string
  readonly failed: OnPluginFailure
}

/**
 * What hooks get as their argument. Its functions need no `this`, so a hook may destructure it. A refusal counts also if
 * the plugin itself catches what `reject` throws.
 */
export class Rejectable {
  /** Why the plugin refuses; an error of another kind for a rejection that can't be answered. */
  refusal: unknown

  readonly reject = (rejection: Rejection): never => {
    let refusal: PluginError
    try {
      refusal = rejectionError(rejection)
      this.refusal ??= refusal
    } catch (error) {
      this.refusal = error ?? new TypeError('The rejection can not be read.')
      throw error
    }
    throw new PluginRejection(refusal)
  }
}

const CODE = /^[A-Z][A-Z0-9_]{0,63}$/

/** @throws TypeError for a rejection that can't be answered; the hook then counts as failed */
function rejectionError({ message, code = 'FORBIDDEN', status = 403 }: Rejection): PluginError {
  if (typeof message !== 'string' || message === '') throw new TypeError('A rejection needs a message.')
  if (!CODE.test(code)) throw new TypeError('The code of a rejection is made of capitals, digits and _.')
  if (!Number.isInteger(status) || status < 400 || status > 599) {
    throw new TypeError('The status of a rejection is from 400 to 599.')
  }
  return new PluginError(message, status, { code })
}

/** One plugin's part of a hook. */
export interface Step<Argument> {
  readonly plugin: string
  readonly hook: string
  readonly timeoutMs: number
  readonly run: (argument: Argument) => unknown
}

/** The plugins that have a hook, in their order. */
export function stepsOf<Argument>(
  plugins: readonly LoadedPlugin[],
  hook: 'onRequest' | 'onOperation' | 'onSubgraphRequest' | 'onResponse',
): readonly Step<Argument>[] {
  return plugins.flatMap(({ name, timeoutMs, hooks }) =>
    hooks[hook]
      ? [{ plugin: name, hook, timeoutMs, run: (argument: Argument) => hooks[hook]?.(argument as never) }]
      : [],
  )
}

/**
 * Runs the steps one after the other.
 * @throws PluginError if a plugin refuses, throws, or takes too long
 */
export async function runSteps<Argument extends { readonly refusal?: unknown }>(
  steps: readonly Step<Argument>[],
  argument: Argument,
  request: HookedRequest,
): Promise<void> {
  for (const step of steps) {
    try {
      const work = step.run(argument)
      if (isPromise(work)) await limited(step, work)
    } catch (error) {
      throw PluginRejection.refusalIn(error) ?? failure(step, error, request)
    }
    const { refusal } = argument
    if (refusal === undefined) continue
    throw refusal instanceof PluginError ? refusal : failure(step, refusal, request)
  }
}

/** What a step returns. @throws PluginError */
export async function resultOf<Argument>(
  step: Step<Argument>,
  argument: Argument,
  request: HookedRequest,
): Promise<unknown> {
  try {
    const work = step.run(argument)
    return isPromise(work) ? await limited(step, work) : work
  } catch (error) {
    throw failure(step, error, request)
  }
}

/** Reports a failure of a plugin. @returns the error for the client, with nothing of the plugin's own in it */
function failure({ plugin, hook }: Omit<Step<never>, 'run'>, error: unknown, request: HookedRequest): PluginError {
  request.failed(plugin, hook, error)
  const extensions = { code: 'PLUGIN_FAILED', correlationId: request.id }
  return new PluginError('A plugin of the gateway failed.', 500, extensions)
}

const limited = (step: Omit<Step<never>, 'run'>, work: PromiseLike<unknown>): Promise<unknown> =>
  within(step.timeoutMs, Promise.resolve(work), () => new PluginTimeout(`It took more than ${step.timeoutMs} ms.`))

const isPromise = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'

/** A line of a stack with a place in a file; a message may have lines that look similar. */
const FRAME = /^ {4}at .*[^\s/\\]:\d+:\d+\)?$/

/**
 * A plugin's error for the log: its class, code and place. Its message is left out, since it may quote what the client
 * sent.
 */
export function shownFailure(error: unknown): Readonly<Record<string, unknown>> {
  try {
    if (!(error instanceof Error)) return { reason: 'something that is not an error was thrown' }
    if (error instanceof PluginTimeout) return { reason: error.message }
    return shownError(error)
  } catch {
    return { reason: 'something that can not be read was thrown' }
  }
}

function shownError(error: Error): Readonly<Record<string, unknown>> {
  const { name, code, message, stack } = error as Readonly<Record<'name' | 'code' | 'message' | 'stack', unknown>>
  // Only below the message it is certain that nothing is quoted.
  const at = typeof stack === 'string' && typeof message === 'string' ? stack.indexOf(message) : -1
  const frames = at < 0 ? [] : (stack as string).slice(at + (message as string).length).split('\n')
  return {
    reason: typeof name === 'string' && /^\w{1,64}$/.test(name) ? name : 'Error',
    ...(typeof code === 'string' && /^\w{1,64}$/.test(code) && { code }),
    stack: frames.filter((line) => FRAME.test(line)).join('\n'),
  }
}
