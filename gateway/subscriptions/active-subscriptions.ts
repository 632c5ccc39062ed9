/** The subscriptions under way, and what ends them: the end of their token, or all at once. */
import type { GraphQLError } from 'graphql'
import { type Authentication, GUEST } from '../authentication/authentication.ts'
import { codedError, tokenRefusal } from '../errors.ts'
import type { EndReason } from './result-stream.ts'

/** A subscription under way. */
interface Active {
  readonly authorization: string | undefined
  /** Whether it has fields that its token's claims allow. */
  readonly needsClaims: boolean
  /** Ends it at once. */
  end(reason: EndReason, errors: readonly GraphQLError[]): void
}

export interface ActiveSubscriptions {
  add(subscription: Active): void
  delete(subscription: Active): void
  /** Ends all that are under way now. */
  endAll(reason: EndReason, errors: readonly GraphQLError[]): void
}

/** How often the tokens of subscriptions are checked, in milliseconds. */
const CHECK_MS = 1_000
/** How many tokens are checked at the same time: so many connections there are to ask for a token's status. */
const CHECKS_AT_ONCE = 16

/** @param authentication undefined: tokens are not checked here */
export function createActiveSubscriptions(authentication: Authentication | undefined): ActiveSubscriptions {
  const all = new Set<Active>()
  const byToken = new Map<string, Set<Active>>()
  let timer: NodeJS.Timeout | undefined
  let isChecking = false

  async function check(authenticate: Authentication, token: string, subscriptions: ReadonlySet<Active>): Promise<void> {
    const known = (await authenticate(token)) ?? GUEST
    const verdict = known.settled ? await known.settled : known
    for (const each of [...subscriptions]) {
      if (!verdict.isAllowed) each.end('token', tokenRefusal(verdict.fault).errors)
      else if (verdict.claims === undefined && each.needsClaims) {
        each.end('token', [codedError('The token cannot be checked at the moment.', 'SERVICE_UNAVAILABLE')])
      }
    }
  }

  async function checkAll(authenticate: Authentication): Promise<void> {
    if (isChecking) return
    isChecking = true
    const tokens = [...byToken]
    try {
      for (let start = 0; start < tokens.length; start += CHECKS_AT_ONCE) {
        const some = tokens.slice(start, start + CHECKS_AT_ONCE)
        await Promise.all(some.map(([token, subscriptions]) => check(authenticate, token, subscriptions)))
      }
    } finally {
      isChecking = false
    }
  }

  return {
    add(subscription) {
      all.add(subscription)
      const { authorization } = subscription
      if (authentication === undefined || authorization === undefined) return
      const same = byToken.get(authorization)
      if (same) same.add(subscription)
      else byToken.set(authorization, new Set([subscription]))
      timer ??= setInterval(() => void checkAll(authentication), CHECK_MS).unref()
    },

    delete(subscription) {
      all.delete(subscription)
      const { authorization = '' } = subscription
      const same = byToken.get(authorization)
      same?.delete(subscription)
      if (same?.size === 0) byToken.delete(authorization)
      if (byToken.size > 0) return
      clearInterval(timer)
      timer = undefined
    },

    endAll(reason, errors) {
      for (const each of [...all]) each.end(reason, errors)
    },
  }
}
