/** Counts what each client has open, and all clients together. */
import { requestError } from '../errors.ts'

export interface SubscriptionLimits {
  /** For one client address. */
  readonly perClient: number
  readonly inAll: number
}

/**
 * @returns a function that counts one more of a client. It returns what to call when that one is gone, and throws
 * RequestError (SUBSCRIPTION_LIMIT) at a limit
 */
export function createClientCounts({ perClient, inAll }: SubscriptionLimits): (client: string) => () => void {
  const counts = new Map<string, number>()
  let count = 0
  return (client) => {
    const own = counts.get(client) ?? 0
    if (own >= perClient || count >= inAll) {
      const whose = own >= perClient ? 'This client' : 'The gateway'
      throw requestError(`${whose} has too many subscriptions.`, 'SUBSCRIPTION_LIMIT')
    }
    counts.set(client, own + 1)
    count++
    let isGone = false
    return () => {
      if (isGone) return
      isGone = true
      count--
      const left = (counts.get(client) ?? 1) - 1
      if (left > 0) counts.set(client, left)
      else counts.delete(client)
    }
  }
}
