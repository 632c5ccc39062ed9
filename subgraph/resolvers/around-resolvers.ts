/**
 * Wrappers around every resolver of a root type: time limits, metrics, and Magento's messages for the faults of the
 * domain.
 */
import { within } from '../../runtime/time-limits.ts'
import { MUTATION_MS } from '../commands/command.ts'
import { serviceUnavailable, translateFault } from '../errors.ts'
import type { RequestContext } from '../http/request-context.ts'

type Resolve = (...args: never[]) => unknown

/** A mutation that takes this long, in milliseconds, has waited for a store. */
const LONG_MS = 3_000

/**
 * Answers each mutation within {@link MUTATION_MS}, however many calls of a store it makes: a hanging store costs the
 * caller one wait. Once a mutation has taken long, the request's further ones are refused at once.
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
      try {
        return await within(
          MUTATION_MS - (context.waitedMs ?? 0),
          Promise.resolve(resolve(root, args, context, info)),
          serviceUnavailable,
        )
      } finally {
        if (performance.now() - began > LONG_MS) late.add(context)
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
