/**
 * EXAMPLE: tells subgraphs which tenant a request is for, by the name of the `Host` header. Run it:
 *   GATEWAY_PLUGIN=examples/plugins/tenant-header.ts TENANTS=acme,globex npm start
 *   curl http://127.0.0.1:4000/graphql -H 'Host: acme.shop.example' -H 'Content-Type: application/json' -d '{"query":"{ countries { id } }"}'
 */
import type { GatewayPlugin } from '../../gateway/plugin.ts'

const tenants = new Set((process.env.TENANTS ?? '').split(',').filter((name) => name !== ''))

export default {
  name: 'tenant-header',
  onRequest({ headers, context, reject }) {
    const [tenant = ''] = (headers.host ?? '').split('.')
    if (!tenants.has(tenant)) reject({ message: 'There is no such shop.', code: 'UNKNOWN_TENANT', status: 404 })
    context.tenant = tenant
  },
  // In place of whatever the client sent under this name. Guests of two tenants never share a call.
  onSubgraphRequest({ context, setHeader }) {
    setHeader('x-tenant', String(context.tenant))
  },
} satisfies GatewayPlugin
