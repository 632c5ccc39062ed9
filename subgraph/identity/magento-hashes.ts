/**
 * Password hashes as Magento encodes them (Magento\Framework\Encryption\Encryptor): `hash:salt:version`, where a hash
 * that was upgraded names each version it went through: `hash:salt:1:2` is argon2id over the SHA-256 hash.
 *
 *     0   md5(salt + password)              1   sha256(salt + password)
 *     2   argon2id13, 32 bytes, sodium's "interactive" limits
 *     3_32_2_67108864   argon2id13 with its length, passes and memory in bytes
 *
 * Magento 1 since SUPEE-11219 writes bcrypt's own format, `$2y$10$…`, with or without a version after it.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import { argon2id } from './argon2.ts'
import { compareBcrypt } from './bcrypt.ts'

/** sodium's OPSLIMIT_INTERACTIVE and MEMLIMIT_INTERACTIVE. */
const INTERACTIVE = { length: 32, passes: 2, bytes: 67_108_864 }
const SALT_BYTES = 16
/**
 * Hashes come from a file, so parameters above those of any Magento are refused: sodium's MEMLIMIT_SENSITIVE, and its
 * OPSLIMITs.
 */
const MOST_BYTES = 1_073_741_824
const MOST_PASSES = 10
const AGNOSTIC = /^3_(\d{1,3})_(\d{1,2})_(\d{1,10})$/

type Step = 'md5' | 'sha256' | { readonly length: number; readonly passes: number; readonly bytes: number }

/** bcrypt: its variant, its cost as a power of two, 22 characters of salt and 31 of the hash. */
const BCRYPT = /^(\$2[abxy]\$(\d\d)\$[./A-Za-z0-9]{53})(?::\d*)*$/
/** A higher cost would let one sign-in keep a core busy for seconds. */
const MOST_BCRYPT_COST = 14
/**
 * What an import accepts is less, because a wrong password costs the work of each kind of hash that the store holds: PHP's
 * default cost of bcrypt, sodium's MEMLIMIT_MODERATE, and eight times what Magento's argon2id reads and writes.
 */
const IMPORTED = { bcryptCost: 12, bytes: 268_435_456, bytesOfAllPasses: 1_073_741_824, steps: 8 }

/** Why an import does not accept the text as a password's hash; undefined if it does. */
export function faultOfMagentoHash(text: string): string | undefined {
  const cost = bcryptCost(text)
  const steps = parse(text)?.steps
  if (cost === undefined && steps === undefined) return "is not in one of Magento's formats"
  const costly = steps?.filter((step) => typeof step !== 'string') ?? []
  const isAccepted =
    (cost ?? 0) <= IMPORTED.bcryptCost &&
    (steps?.length ?? 0) <= IMPORTED.steps &&
    costly.every(({ bytes }) => bytes <= IMPORTED.bytes) &&
    costly.reduce((sum, { bytes, passes }) => sum + bytes * passes, 0) <= IMPORTED.bytesOfAllPasses
  return isAccepted
    ? undefined
    : 'would make every wrong sign-in slow; accepted are at most a cost of 12 (bcrypt), 256 MiB and 1 GiB in all passes (Argon2id), and 8 versions'
}

/**
 * Whether the password matches the hash, in constant time.
 * @throws TypeError for a text that is not a hash of Magento
 */
export async function verifyMagentoPassword(password: string, text: string): Promise<boolean> {
  const bcrypt = bcryptOf(text)
  if (bcrypt !== undefined) return compareBcrypt(password, bcrypt)
  const parsed = parse(text)
  if (parsed === undefined) throw new TypeError("A stored password hash is not in one of Magento's formats.")
  const { hash, salt, steps } = parsed
  let value = password
  for (const step of steps) {
    if (step === 'md5' || step === 'sha256')
      value = createHash(step)
        .update(salt + value)
        .digest('hex')
    else {
      const tag = await argon2id({
        message: value,
        nonce: saltOf(salt),
        memory: Math.floor(step.bytes / 1024),
        passes: step.passes,
        parallelism: 1,
        tagLength: step.length,
      })
      value = tag.toString('hex')
    }
  }
  const actual = Buffer.from(value)
  const expected = Buffer.from(hash)
  return actual.length === expected.length && timingSafeEqual(actual, expected)
}

/** As with PHP's substr and str_pad: sixteen bytes of the salt, repeated if it is shorter. */
function saltOf(salt: string): Buffer {
  const bytes = Buffer.from(salt)
  return Buffer.alloc(SALT_BYTES, bytes.length > 0 ? bytes.subarray(0, SALT_BYTES) : 0)
}

/** The cost of a check: memory in KiB and passes of each argon2id; none for MD5 and SHA-256. */
export function costlySteps(text: string): { readonly memory: number; readonly passes: number }[] {
  const steps = parse(text)?.steps ?? []
  return steps.flatMap((step) =>
    typeof step === 'string' ? [] : [{ memory: Math.floor(step.bytes / 1024), passes: step.passes }],
  )
}

/** The cost of a bcrypt hash, as a power of two; undefined for all others. */
export function bcryptCost(text: string): number | undefined {
  const hash = bcryptOf(text)
  return hash === undefined ? undefined : Number(hash.slice(4, 6))
}

/** The hash in bcrypt's format, if it is a bcrypt hash with an accepted cost. */
function bcryptOf(text: string): string | undefined {
  const [, hash, cost] = BCRYPT.exec(text.trim()) ?? []
  return Number(cost) >= 4 && Number(cost) <= MOST_BCRYPT_COST ? hash : undefined
}

function parse(text: string): { hash: string; salt: string; steps: Step[] } | undefined {
  const [hash = '', salt = '', ...versions] = text.trim().split(':')
  if (!/^[0-9a-f]+$/i.test(hash)) return undefined
  // Hashes without a version: md5 has 32 digits, sha256 has 64.
  const named = versions.length > 0 ? versions : [hash.length === 32 ? '0' : '1']
  const steps: Step[] = []
  for (const version of named) {
    const step = stepOf(version)
    // sodium does not accept an empty salt, so Magento would refuse every password.
    if (step === undefined || (typeof step !== 'string' && salt === '')) return undefined
    steps.push(step)
  }
  const last = steps.at(-1)
  const length = last === 'md5' ? 16 : last === 'sha256' ? 32 : last?.length
  return hash.length === 2 * (length ?? 0) ? { hash: hash.toLowerCase(), salt, steps } : undefined
}

function stepOf(version: string): Step | undefined {
  if (version === '0') return 'md5'
  if (version === '1') return 'sha256'
  if (version === '2') return INTERACTIVE
  const [length, passes, bytes] = (AGNOSTIC.exec(version) ?? []).slice(1).map(Number)
  if (length === undefined || passes === undefined || bytes === undefined) return undefined
  // The limits: sodium's minimum, and the maximum cost of one sign-in.
  const isAccepted = length >= 16 && passes >= 1 && passes <= MOST_PASSES && bytes >= 8192 && bytes <= MOST_BYTES
  return isAccepted ? { length, passes, bytes } : undefined
}
