/** Password hashes: argon2id in the PHC string format. */
import { type Argon2Parameters, argon2, randomBytes, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import { isQuick, verifyMagentoPassword } from './magento-hashes.ts'

const derive = promisify<'argon2id', Argon2Parameters, Buffer>(argon2)

/** OWASP's first choice for argon2id: 19 MiB, two passes, one lane. */
const COST = { memory: 19_456, passes: 2, parallelism: 1 }
const TAG_LENGTH = 32
const PHC = /^\$argon2id\$v=19\$m=(\d+),t=(\d+),p=(\d+)\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$/

const base64 = (bytes: Buffer) => bytes.toString('base64').replace(/=+$/, '')

/** The hash to store. Takes some 30 ms of a thread of the pool, none of the event loop. */
export async function hashPassword(password: string): Promise<string> {
  const nonce = randomBytes(16)
  const tag = await derive('argon2id', { message: password, nonce, ...COST, tagLength: TAG_LENGTH })
  return `$argon2id$v=19$m=${COST.memory},t=${COST.passes},p=${COST.parallelism}$${base64(nonce)}$${base64(tag)}`
}

/**
 * Whether the password is the hash's.
 * @param hash what `hashPassword` gave, or {@link MAGENTO} and a hash of Magento's; undefined (nobody has the password) takes
 * as long as a real check and is false
 * @throws TypeError for a hash in another format
 */
export async function verifyPassword(password: string, hash: string | undefined): Promise<boolean> {
  if (hash?.startsWith(MAGENTO)) {
    const magento = hash.slice(MAGENTO.length)
    // MD5 and SHA-256 take no time: how long it takes must not tell that there is such an account.
    if (isQuick(magento)) await verifyOwn(password, undefined)
    return verifyMagentoPassword(password, magento)
  }
  return verifyOwn(password, hash)
}

async function verifyOwn(password: string, hash: string | undefined): Promise<boolean> {
  const match = PHC.exec(hash ?? (await decoy))
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
  return timingSafeEqual(actual, expected) && hash !== undefined
}

/** Before a hash that was taken over from Magento. */
export const MAGENTO = '$magento$'

/** Whether the hash is one of another shop's, to be replaced as soon as the password is known. */
export const isOutdated = (hash: string): boolean => hash.startsWith(MAGENTO)

const decoy = hashPassword(randomBytes(16).toString('hex'))
