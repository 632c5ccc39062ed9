/** Password hashes: argon2id in the PHC string format. */
import { randomBytes, timingSafeEqual } from 'node:crypto'
import { argon2id } from './argon2.ts'
import { compareBcrypt } from './bcrypt.ts'
import { bcryptCost, costlySteps, verifyMagentoPassword } from './magento-hashes.ts'

/** OWASP's first choice for argon2id: 19 MiB, two passes, one lane. */
const COST = { memory: 19_456, passes: 2, parallelism: 1 }
const TAG_LENGTH = 32
const DECOY_NONCE = randomBytes(16)
/** The salt and hash of an account without a password. */
const DECOY_BCRYPT = '.'.repeat(53)
const PHC = /^\$argon2id\$v=19\$m=(\d+),t=(\d+),p=(\d+)\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$/

const base64 = (bytes: Buffer) => bytes.toString('base64').replace(/=+$/, '')

/**
 * The Unicode forms in which a password may have been hashed: NFC, used for all new hashes; and for older hashes as
 * typed, and NFD, as some keyboards type it. A password of plain ASCII has one form.
 */
export function formsOf(password: string): readonly string[] {
  return [...new Set([password.normalize('NFC'), password, password.normalize('NFD')])]
}

/**
 * The hash to store, of the password's NFC form. It takes about 30 ms of a pool thread, and does not block the event
 * loop.
 */
export async function hashPassword(password: string): Promise<string> {
  const nonce = randomBytes(16)
  const tag = await argon2id({ message: password.normalize('NFC'), nonce, ...COST, tagLength: TAG_LENGTH })
  return `$argon2id$v=19$m=${COST.memory},t=${COST.passes},p=${COST.parallelism}$${base64(nonce)}$${base64(tag)}`
}

/**
 * Whether the password matches the hash. Each kind of hash takes its own time: see password-checks.ts.
 * @param hash the result of `hashPassword`, or {@link MAGENTO} and a hash of Magento; undefined: no password matches
 * @throws TypeError for a hash in another format
 */
export async function verifyPassword(password: string, hash: string | undefined): Promise<boolean> {
  if (hash === undefined) return false
  if (hash.startsWith(MAGENTO)) return verifyMagentoPassword(password, hash.slice(MAGENTO.length))
  const match = PHC.exec(hash)
  if (match === null) throw new TypeError('A stored password hash is not in the argon2id PHC format.')
  const [, memory, passes, parallelism, nonce = '', tag = ''] = match
  const expected = Buffer.from(tag, 'base64')
  const actual = await argon2id({
    message: password,
    nonce: Buffer.from(nonce, 'base64'),
    memory: Number(memory),
    passes: Number(passes),
    parallelism: Number(parallelism),
    tagLength: expected.length,
  })
  return timingSafeEqual(actual, expected)
}

/**
 * The kind of a hash, on which the time of a check depends: each way of hashing with its parameters is a kind; nested
 * hashes are joined with +. The empty text means a negligible time.
 */
export function kindOf(hash: string): string {
  if (hash.startsWith(MAGENTO)) {
    const cost = bcryptCost(hash.slice(MAGENTO.length))
    if (cost !== undefined) return `bcrypt:${cost}`
    return costlySteps(hash.slice(MAGENTO.length))
      .map(({ memory, passes }) => nameOf(memory, passes, 1))
      .join('+')
  }
  const [, memory, passes, parallelism] = PHC.exec(hash) ?? []
  return memory === undefined ? '' : nameOf(Number(memory), Number(passes), Number(parallelism))
}

const nameOf = (memory: number, passes: number, parallelism: number) => `argon2id:${memory}:${passes}:${parallelism}`

/** The kind of our own hashes. */
export const OWN_KIND = nameOf(COST.memory, COST.passes, COST.parallelism)

/** Does the work of a hash of that kind and drops the result; does nothing for an unknown kind. */
export async function spend(kind: string, password: string): Promise<void> {
  for (const step of kind.split('+')) {
    const [, cost] = /^bcrypt:(\d{1,2})$/.exec(step) ?? []
    if (cost !== undefined) await compareBcrypt(password, `$2b$${cost.padStart(2, '0')}$${DECOY_BCRYPT}`)
    const [, memory, passes, parallelism] = /^argon2id:(\d+):(\d+):(\d+)$/.exec(step) ?? []
    if (memory === undefined) continue
    const parameters = { memory: Number(memory), passes: Number(passes), parallelism: Number(parallelism) }
    await argon2id({ message: password, nonce: DECOY_NONCE, ...parameters, tagLength: TAG_LENGTH })
  }
}

/** The prefix of a hash that was imported from Magento. */
export const MAGENTO = '$magento$'

/** Whether the hash was imported, and should be replaced as soon as the password is known. */
export const isOutdated = (hash: string): boolean => hash.startsWith(MAGENTO)
