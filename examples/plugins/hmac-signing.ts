/**
 * EXAMPLE: signs every subgraph call, so that a subgraph knows that it comes from this gateway, unchanged and just now.
 * verify-signature.ts is the subgraph's side. Run it:
 *   GATEWAY_PLUGIN=examples/plugins/hmac-signing.ts SIGNING_KEY=$(openssl rand -hex 32) npm start
 */
import { createHmac } from 'node:crypto'
import type { GatewayPlugin, Signer } from '../../gateway/plugin.ts'

export default function hmacSigning(): GatewayPlugin {
  const key = process.env.SIGNING_KEY ?? ''
  if (key.length < 32) throw new Error('SIGNING_KEY needs 32 characters or more')

  // One signer for all calls: calls with different signers are not shared between guests.
  const signer: Signer = ({ subgraph, body }) => {
    const time = Math.floor(Date.now() / 1000)
    const signature = createHmac('sha256', key).update(`${time}.${subgraph}.`).update(body).digest('hex')
    return { 'x-signature': `t=${time},v1=${signature}` }
  }
  return {
    name: 'hmac-signing',
    onSubgraphRequest(call) {
      call.sign(signer)
    },
  }
}
