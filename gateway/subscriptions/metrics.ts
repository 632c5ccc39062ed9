/** The metrics of subscriptions. */
import { Counter, Gauge, type Registry } from 'prom-client'

export interface SubscriptionMetrics {
  /** A subscription has begun. @param transport how its client is connected */
  readonly subscriptionBegan: (transport: string) => void
  /** Counts an event that a client is sent. */
  readonly subscriptionEvent: () => void
  readonly subscriptionEnded: (transport: string, reason: string) => void
}

export function createSubscriptionMetrics(registers: Registry[]): SubscriptionMetrics {
  const subscriptions = new Gauge({
    name: 'gateway_subscriptions',
    help: 'Subscriptions under way, by transport: sse or websocket.',
    labelNames: ['transport'] as const,
    registers,
  })
  const events = new Counter({
    name: 'gateway_subscription_events_total',
    help: 'Events of subscriptions that clients were sent.',
    registers,
  })
  const ended = new Counter({
    name: 'gateway_subscriptions_ended_total',
    help: 'Subscriptions that ended, by reason: client, complete, subgraph, token, schema, slow, closing or failed.',
    labelNames: ['reason'] as const,
    registers,
  })
  return {
    subscriptionBegan: (transport) => subscriptions.inc({ transport }),
    subscriptionEvent: () => events.inc(),
    subscriptionEnded: (transport, reason) => {
      subscriptions.dec({ transport })
      ended.inc({ reason })
    },
  }
}
