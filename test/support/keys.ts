/** The service's keys in tests and benches: only `npm start` and `npm run secrets` make any. */
import { createPrivateKey } from 'node:crypto'

/** An Ed25519 private key of RFC 8032's test vectors, as PEM. */
function pem(d: string, x: string): string {
  const key = createPrivateKey({ format: 'jwk', key: { kty: 'OKP', crv: 'Ed25519', d, x } })
  return key.export({ format: 'pem', type: 'pkcs8' }).toString()
}

export const KEYS = {
  MASTER_KEY: '00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff',
  EMAIL_HASH_KEY: 'k'.repeat(32),
  TOKEN_SIGNING_KEY: pem('nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A', '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo'),
  AUDIT_SIGNING_KEY: pem('TM0Imyj_ltqdtsNG7BFOD1uKMZ81q6Yk2oz27U-4pvs', 'PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw'),
}
