/** Password hashes: argon2id in the PHC string format. */
import { type Argon2Parameters, argon2, randomBytes, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import { compareBcrypt } from './bcrypt.ts'
import { bcryptCost, costlySteps, verifyMagentoPassword } from './magento-hashes.ts'

const derive = promisify<'argon2id', Argon2Parameters, Buffer>(argon2)

/** OWASP's first choice for argon2id: 19 MiB, two passes, one lane. */
const COST = { memory: 19_456, passes: 2, parallelism: 1 }
const TAG_LENGTH = 32
const DECOY_NONCE = randomBytes(16)
/** Salt and hash of no password. */
const DECOY_BCRYPT = '.'.repeat(53)
const PHC = /^\$argon2id\$v=19\$m=(\d+),t=(\d+),p=(\d+)\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$/

const base64 = (bytes: Buffer) => bytes.toString('base64').replace(/=+$/, '')

/**
 * The forms in which a password may have been hashed: NFC, as all are since it is made the same at the door; as it was
 * typed; and NFD, as some keyboards type it, for hashes of before. One form for a password of plain letters.
 */
export function formsOf(password: string): readonly string[] {
  return [...new Set([password.normalize('NFC'), password, password.normalize('NFD')])]
}

/** The hash to store, of the password's NFC form. Takes some 30 ms of a thread of the pool, none of the event loop. */
export async function hashPassword(password: string): Promise<string> {
  const nonce = randomBytes(16)
  const tag = await derive('argon2id', { message: password.normalize('NFC'), nonce, ...COST, tagLength: TAG_LENGTH })
  return `$argon2id$v=19$m=${COST.memory},t=${COST.passes},p=${COST.parallelism}$${base64(nonce)}$${base64(tag)}`
}

/**
 * Whether the password is the hash's. Each kind of hash takes its own time: see password-checks.ts.
 * @param hash what `hashPassword` gave, or {@link MAGENTO} and a hash of Magento's; undefined: nobody has the password
 * @throws TypeError for a hash in another format
 */
export async function verifyPassword(password: string, hash: string | undefined): Promise<boolean> {
  if (hash === undefined) return false
  if (hash.startsWith(MAGENTO)) return verifyMagentoPassword(password, hash.slice(MAGENTO.length))
  const match = PHC.exec(hash)
  if (match === null) throw new TypeError('A stored password hash is not in the argon2id PHC format.')
  const [, memory, passes, parallelism, nonce = '', tag = ''] = match
  const expected = Buffer.from(tag, 'base64')
  const actual = await derive('argon2id', {
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
 * What the time of a check depends on: hashes of one kind take as long as each other. The empty text: no time to speak of.
 * A kind of its own for each way of hashing, with its parameters; where one hash goes over another, with + between them.
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

/** The kind of the hashes that are made here. */
export const OWN_KIND = nameOf(COST.memory, COST.passes, COST.parallelism)

/** Does the work of a hash of that kind, for nothing; of a kind that is not known here, none. */
export async function spend(kind: string, password: string): Promise<void> {
  for (const step of kind.split('+')) {
    const [, cost] = /^bcrypt:(\d{1,2})$/.exec(step) ?? []
    if (cost !== undefined) await compareBcrypt(password, `$2b$${cost.padStart(2, '0')}$${DECOY_BCRYPT}`)
    const [, memory, passes, parallelism] = /^argon2id:(\d+):(\d+):(\d+)$/.exec(step) ?? []
    if (memory === undefined) continue
    const parameters = { memory: Number(memory), passes: Number(passes), parallelism: Number(parallelism) }
    await derive('argon2id', { message: password, nonce: DECOY_NONCE, ...parameters, tagLength: TAG_LENGTH })
  }
}

/** Before a hash that was taken over from Magento. */
export const MAGENTO = '$magento$'

/** Whether the hash is one of another shop's, to be replaced as soon as the password is known. */
export const isOutdated = (hash: string): boolean => hash.startsWith(MAGENTO)
