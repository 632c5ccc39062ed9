/** Proof: whether the log is whole, what checkpoints cover, and proofs of single events. */
import { html } from '../../html.ts'
import { type ConsoleApp, page } from '../../routes.ts'
import { checkpointSection, registerCheckpoints } from './checkpoints.ts'
import { eventProofSection, registerEventProofs } from './event-proof.ts'
import { loadProofKeys } from './proof-keys.ts'
import { PROOF_ROLES } from './roles.ts'
import { registerVerification, verificationSection } from './verification.ts'

export function proof(app: ConsoleApp): void {
  const keys = loadProofKeys(app.options)
  const job = registerVerification(app, keys)
  page(
    app,
    {
      path: '/proof',
      title: 'Proof',
      roles: PROOF_ROLES,
      nav: { label: 'Proof', about: 'Whether anything in the log was altered, what is signed, and proofs for others.' },
    },
    async (view) => html`<link rel="stylesheet" href="/assets/proof.css">
${await verificationSection(view, job)}
${await checkpointSection(view, keys)}
${eventProofSection(view)}`,
  )
  registerCheckpoints(app, keys)
  registerEventProofs(app, keys)
}
