/**
 * For Fastify's options: how long a client may take to send a request, in milliseconds. Fastify's own default is for ever,
 * so connections that send a byte now and then would add up.
 */
export const REQUEST_TIMEOUTS = {
  requestTimeout: 30_000,
  http: { headersTimeout: 10_000, connectionsCheckingInterval: 1_000 },
} as const
