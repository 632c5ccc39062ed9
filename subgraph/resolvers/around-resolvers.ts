/**
 * Wrappers around every resolver of a root type: time limits, metrics, and Magento's messages for the faults of the
 * domain.
 */
import { within } from '../../runtime/time-limits.ts'
import { MUTATION_MS } from '../commands/command.ts'
import { serviceUnavailable, translateFault } from '../errors.ts'
import type { RequestContext } from '../http/request-context.ts'

type Resolve = (...args: never[]) => unknown

/** A mutation that takes longer than the first has waited for a store, and than the second for one that hangs. */
const ORDINARY_MS = 500
const LONG_MS = 3_000

/**
 * Answers each mutation within {@link MUTATION_MS}, however many calls of a store it makes, and those of a request
 * together: what one has waited for a store is taken from the time of the next ones. Once one has taken long, or all of
 * its time, the others are refused at once. Many that are fast are not limited.
 */
export function limitTime(mutations: object): void {
  const late = new WeakSet<object>()
  const fields = mutations as Record<
    string,
    (root: unknown, args: unknown, context: Pick<RequestContext, 'waitedMs'>, info: unknown) => unknown
  >
  for (const [name, resolve] of Object.entries(fields)) {
    fields[name] = async (root, args, context, info) => {
      if (late.has(context)) throw serviceUnavailable()
      const began = performance.now()
      const { waitedMs = 0 } = context
      const limit = MUTATION_MS - waitedMs
      try {
        return await within(limit, Promise.resolve(resolve(root, args, context, info)), serviceUnavailable)
      } finally {
        const took = performance.now() - began
        if (took >= Math.min(LONG_MS, limit)) late.add(context)
        context.waitedMs = waitedMs + Math.max(0, took - ORDINARY_MS)
      }
    }
  }
}

/** Queries whose client has gone away begin no further work. */
export function stopForNobody(resolvers: object): void {
  const fields = resolvers as Record<
    string,
    (source: unknown, args: never, context: RequestContext, info: never) => unknown
  >
  for (const [name, resolve] of Object.entries(fields)) {
    fields[name] = (source, args, context, info) => {
      if (context.isGone()) throw serviceUnavailable()
      return resolve(source, args, context, info)
    }
  }
}

/**
 * Translates the faults of the domain, and counts the outcomes of each resolver.
 * @param onOutcome called with `answered`, or with `failed` if the resolver throws
 */
export function answerFaults(
  resolvers: object,
  onOutcome: (operation: string, outcome: 'answered' | 'failed') => void,
): void {
  const fields = resolvers as Record<string, Resolve>
  for (const [name, resolve] of Object.entries(fields)) {
    const answered = <T>(answer: T): T => {
      onOutcome(name, 'answered')
      return answer
    }
    const failed = (error: unknown): never => {
      onOutcome(name, 'failed')
      throw translateFault(error)
    }
    fields[name] = (...args) => {
      let answer: unknown
      try {
        answer = resolve(...args)
      } catch (error) {
        return failed(error)
      }
      return answer instanceof Promise ? answer.then(answered, failed) : answered(answer)
    }
  }
}
