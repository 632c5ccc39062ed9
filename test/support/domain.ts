/**
 * Stands in for the module `async-hook-domain`, by which tap knows which test an error belongs to that nobody caught. That
 * watches each promise of the process and the code under test, which costs more than a tenth of all tests. A context that
 * follows asynchronous calls costs nothing.
 */
import { AsyncLocalStorage } from 'node:async_hooks'

/** What tap makes for each test. */
export class Domain {
  readonly onerror: (error: unknown, type: NodeJS.UncaughtExceptionOrigin) => void
  destroyed = false

  constructor(onerror: Domain['onerror']) {
    this.onerror = onerror
  }

  destroy(): void {
    this.destroyed = true
  }
}

/** A test, as far as it is needed here. */
interface TapTest {
  readonly hook: TapHook
  readonly hookDomain: Domain
  readonly parent?: TapTest | undefined
}

/** By which a test runs its function. */
interface TapHook {
  readonly test: TapTest
}

/** Gives errors that nobody catches to the test that runs, or the nearest around it that has not ended. @param root tap's */
export function catchFor(root: TapTest): void {
  const running = new AsyncLocalStorage<TapTest>()
  Object.assign(Object.getPrototypeOf(root.hook), {
    runInAsyncScope(this: TapHook, run: (...args: unknown[]) => unknown, self: unknown, ...args: unknown[]) {
      return running.run(this.test, () => run.apply(self, args))
    },
  })
  process.on('uncaughtException', (error, type) => {
    // A test that listens itself decides itself.
    if (process.listenerCount('uncaughtException') > 1) return
    let test = running.getStore()
    while (test?.hookDomain.destroyed) test = test.parent
    const { hookDomain } = test ?? root
    hookDomain.onerror(error, type)
  })
}
