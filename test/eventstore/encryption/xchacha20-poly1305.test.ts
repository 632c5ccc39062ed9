/** The cipher of version 2, against the definition of it (draft-irtf-cfrg-xchacha) by another implementation, OpenSSL's. */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import type { Key } from '../../../eventstore/encryption/keys.ts'
import { openText, sealText } from '../../../eventstore/encryption/xchacha20-poly1305.ts'

/** HChaCha20: the key that a nonce of 16 bytes gives. */
function hchacha20(key: Buffer, nonce: Buffer): Buffer {
  const state = new Uint32Array(16)
  const words = Buffer.concat([Buffer.from('expand 32-byte k'), key, nonce])
  for (let index = 0; index < 16; index++) state[index] = words.readUInt32LE(4 * index)
  const at = (index: number) => state[index] as number
  const rotate = (a: number, b: number, bits: number) => {
    const value = at(a) ^ at(b)
    state[a] = (value << bits) | (value >>> (32 - bits))
  }
  const quarter = (a: number, b: number, c: number, d: number) => {
    for (const [left, right] of [
      [16, 12],
      [8, 7],
    ] as const) {
      state[a] = at(a) + at(b)
      rotate(d, a, left)
      state[c] = at(c) + at(d)
      rotate(b, c, right)
    }
  }
  for (let round = 0; round < 10; round++) {
    for (let column = 0; column < 4; column++) quarter(column, 4 + column, 8 + column, 12 + column)
    for (let column = 0; column < 4; column++) {
      quarter(column, 4 + ((column + 1) % 4), 8 + ((column + 2) % 4), 12 + ((column + 3) % 4))
    }
  }
  const derived = Buffer.alloc(32)
  for (const [index, word] of [0, 1, 2, 3, 12, 13, 14, 15].entries()) derived.writeUInt32LE(at(word), 4 * index)
  return derived
}

/** XChaCha20-Poly1305 by OpenSSL. */
function parts(key: Buffer, nonce: Buffer) {
  const tag = { authTagLength: 16 } as const
  const inner = Buffer.concat([Buffer.alloc(4), nonce.subarray(16)])
  return ['chacha20-poly1305', hchacha20(key, nonce.subarray(0, 16)), inner, tag] as const
}

/** The types want it for every cipher; it is of no account for this one. */
const NO_LENGTH = { plaintextLength: 0 }

const keyOf = (bytes: Buffer, generation = 0): Key => ({ bytes, start: 0, generation })
const head = (version: number, generation: number) => Buffer.of(version, generation >> 8, generation & 0xff)

t.test('HChaCha20 as the test has it: the vector of the draft, 2.2.1', async (t) => {
  const key = Buffer.from(Array.from({ length: 32 }, (_, index) => index))
  const derived = hchacha20(key, Buffer.from('000000090000004a0000000031415927', 'hex'))
  t.equal(derived.toString('hex'), '82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc')
})

const text = fc.string({ unit: 'binary', maxLength: 300 })
const generation = fc.integer({ min: 0, max: 65_535 })

t.test('what is sealed here is opened there, and the other way round', async (t) => {
  fc.assert(
    fc.property(text, text, generation, (content, authenticated, generation) => {
      const bytes = randomBytes(32)
      const key = keyOf(bytes, generation)
      const context = Buffer.concat([head(2, generation), Buffer.from(authenticated)])

      const sealed = Buffer.from(sealText(content, key, 2, authenticated), 'base64')
      t.same(sealed.subarray(0, 3), head(2, generation))
      const nonce = sealed.subarray(3, 27)
      const decipher = createDecipheriv(...parts(bytes, nonce)).setAAD(context, NO_LENGTH)
      decipher.setAuthTag(sealed.subarray(-16))
      const opened = Buffer.concat([decipher.update(sealed.subarray(27, -16)), decipher.final()])
      t.equal(opened.toString(), Buffer.from(content).toString())

      const other = randomBytes(24)
      const cipher = createCipheriv(...parts(bytes, other)).setAAD(context, NO_LENGTH)
      const body = Buffer.concat([cipher.update(content, 'utf8'), cipher.final(), cipher.getAuthTag()])
      const whole = Buffer.concat([head(2, generation), other, body]).toString('base64')
      t.equal(openText(whole, key, 2, authenticated), Buffer.from(content).toString())
    }),
    { numRuns: 100 },
  )
})

t.test('another key, version, generation or purpose opens nothing', async (t) => {
  const bytes = randomBytes(96)
  const key: Key = { bytes, start: 32, generation: 1 }
  const sealed = sealText('["Zoë"]', key, 2, 'customer-1 Type id')
  t.equal(openText(sealed, key, 2, 'customer-1 Type id'), '["Zoë"]')
  t.equal(openText(sealed, keyOf(Buffer.from(bytes.subarray(32, 64)), 1), 2, 'customer-1 Type id'), '["Zoë"]', 'a copy')
  for (const start of [0, 64]) t.equal(openText(sealed, { ...key, start }, 2, 'customer-1 Type id'), undefined)
  t.equal(openText(sealed, { ...key, generation: 0 }, 2, 'customer-1 Type id'), undefined)
  t.equal(openText(sealed, key, 3, 'customer-1 Type id'), undefined)
  for (const other of ['', 'customer-1 Type i', 'customer-1 Type id ', 'customer-2 Type id']) {
    t.equal(openText(sealed, key, 2, other), undefined)
  }
  for (const broken of ['', 'AgAA', 'no base64!', sealed.slice(0, -4), sealed.slice(4)]) {
    t.equal(openText(broken, key, 2, 'customer-1 Type id'), undefined)
  }
})

t.test('no nonce comes twice', async (t) => {
  const key = keyOf(randomBytes(32))
  const nonces = Array.from({ length: 5_000 }, () => sealText('', key, 2, '').slice(4, 36))
  t.equal(new Set(nonces).size, nonces.length)
})

t.test('texts larger than any event, and small ones after them', async (t) => {
  const key = keyOf(randomBytes(32))
  for (const length of [1, 60_000, 70_000, 6_000_000, 10]) {
    for (const content of ['a'.repeat(length), 'ß'.repeat(length), '𝒳'.repeat(length / 2)]) {
      t.ok(openText(sealText(content, key, 2, content.slice(0, 100)), key, 2, content.slice(0, 100)) === content)
    }
  }
})
