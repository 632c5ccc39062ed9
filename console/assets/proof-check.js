/**
 * Checks a proof file with WebCrypto, as docs/audit.md describes it: the signature of the checkpoint (Ed25519), the path
 * from the event's leaf to the signed root (RFC 9162, 2.1.3.2), and the event itself, if it is in the file. Makes no
 * request.
 */
const encoder = new TextEncoder()

/** In bytes; an event has at most a few megabytes. */
const LARGEST = 32 * 1024 * 1024

/** Why a proof does not hold, for a person. */
class Fault extends Error {}

function bytesOf(base64url, what) {
  if (typeof base64url !== 'string' || !/^[\w-]*$/.test(base64url)) throw new Fault(`${what} is not base64url.`)
  try {
    const bytes = Uint8Array.from(atob(base64url.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0))
    // The last letter has unused bits: another spelling of the same bytes is not accepted.
    if (textOf(bytes) === base64url) return bytes
  } catch {
    // Said below.
  }
  throw new Fault(`${what} is not base64url.`)
}

const textOf = (bytes) =>
  btoa(String.fromCharCode(...bytes))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '')

async function sha256(...parts) {
  const all = parts.map((part) => (typeof part === 'string' ? encoder.encode(part) : part))
  const joined = new Uint8Array(all.reduce((length, { length: more }) => length + more, 0))
  let offset = 0
  for (const part of all) {
    joined.set(part, offset)
    offset += part.length
  }
  return new Uint8Array(await crypto.subtle.digest('SHA-256', joined))
}

/** @returns the key, and its text as the proof names it */
async function readKey(pem) {
  if (pem.includes('PRIVATE KEY'))
    throw new Fault('This is a private key. Never paste it anywhere: the public key is needed.')
  const [, body] = /-----BEGIN PUBLIC KEY-----([\sA-Za-z0-9+/=]+)-----END PUBLIC KEY-----/.exec(pem) ?? []
  if (body === undefined)
    throw new Fault('The key is not a public key in PEM: it begins with -----BEGIN PUBLIC KEY-----.')
  try {
    const bytes = Uint8Array.from(atob(body.replaceAll(/\s/g, '')), (c) => c.charCodeAt(0))
    const key = await crypto.subtle.importKey('spki', bytes, { name: 'Ed25519' }, true, ['verify'])
    const { kty, crv, x } = await crypto.subtle.exportKey('jwk', key)
    return { key, bytes, id: textOf(await sha256(JSON.stringify({ crv, kty, x }))) }
  } catch (error) {
    if (error.name === 'NotSupportedError') {
      throw new Fault('This browser does not know Ed25519. Use a current one, or the command below.')
    }
    throw new Fault('The key is not an Ed25519 public key.')
  }
}

function readProof(text) {
  let proof
  try {
    proof = JSON.parse(text)
  } catch {
    throw new Fault('The file is not JSON.')
  }
  const { version, leaf, event, index, path, checkpoint, signature } = proof ?? {}
  const { size, root, position, time, keyId } = checkpoint ?? {}
  const texts = [leaf, signature, root, time, keyId, position?.commit, position?.prepare]
  const isProof =
    texts.every((each) => typeof each === 'string') &&
    Number.isSafeInteger(index) &&
    Number.isSafeInteger(size) &&
    Array.isArray(path) &&
    (event === undefined || isEvent(event))
  if (!isProof) throw new Fault('The file is not a proof of this service.')
  if (version !== 1) throw new Fault('The proof is of another version.')
  return proof
}

const isEvent = (event) =>
  typeof event === 'object' &&
  event !== null &&
  [event.stream, event.id, event.type].every((each) => typeof each === 'string') &&
  Number.isSafeInteger(event.revision)

/** The root to which the path leads from the leaf. */
async function rootFrom({ leaf, index, path, checkpoint }) {
  let hash = await sha256(Uint8Array.of(0), leaf)
  if (index < 0 || index >= checkpoint.size) throw new Fault('The path does not fit its place in the tree.')
  // Numbers, not bits: a log may have more events than 32 bits count.
  let [at, last] = [index, checkpoint.size - 1]
  for (const text of path) {
    const sibling = bytesOf(text, 'A hash of the path')
    if (sibling.length !== 32 || last === 0) throw new Fault('The path does not fit its place in the tree.')
    if (at % 2 === 1 || at === last) {
      hash = await sha256(Uint8Array.of(1), sibling, hash)
      while (at % 2 === 0 && at !== 0) [at, last] = [at / 2, Math.floor(last / 2)]
    } else hash = await sha256(Uint8Array.of(1), hash, sibling)
    ;[at, last] = [Math.floor(at / 2), Math.floor(last / 2)]
  }
  if (last !== 0) throw new Fault('The path does not fit its place in the tree.')
  return textOf(hash)
}

/** The hash of the event in the file, by its content. */
async function leafOfEvent({ stream, revision, id, type, data, metadata }) {
  const isGroup = typeof metadata === 'object' && metadata !== null && !Array.isArray(metadata)
  const { $hash, $previous, ...rest } = isGroup ? metadata : {}
  const others = isGroup ? (Object.keys(rest).length > 0 ? rest : null) : (metadata ?? null)
  if (id !== id.toLowerCase()) throw new Fault('The event is not what its hash was made of.')
  // An event from before hashes counts with the hash that it would have at the beginning of a stream.
  const hasHash = typeof $hash === 'string'
  const previous = hasHash && typeof $previous === 'string' ? $previous : null
  const content = JSON.stringify(['customer-log event v1', stream, id, type, data ?? null, others, previous])
  const hash = textOf(await sha256(content))
  if (hasHash && $hash !== hash) throw new Fault('The event is not what its hash was made of.')
  return JSON.stringify([stream, revision, hash])
}

/** @returns what is proved @throws Fault */
async function check(text, pem) {
  const { key, id, bytes } = await readKey(pem)
  const proof = readProof(text)
  const { size, root, position, time, keyId } = proof.checkpoint
  const own = typeof proof.publicKey === 'string' ? proof.publicKey.replaceAll(/-----[A-Z ]+-----|\s/g, '') : undefined
  if (keyId !== id || own !== btoa(String.fromCharCode(...bytes))) {
    throw new Fault('The proof was signed with another key than the one you pasted.')
  }
  const signed = ['customer-log checkpoint v1', size, root, position.commit, position.prepare, time, keyId]
  const signature = bytesOf(proof.signature, 'The signature')
  const isSigned = await crypto.subtle.verify(
    { name: 'Ed25519' },
    key,
    signature,
    encoder.encode(JSON.stringify(signed)),
  )
  if (!isSigned) throw new Fault("The checkpoint's signature is not of this key: it was forged, or changed since.")
  if (proof.event !== undefined && (await leafOfEvent(proof.event)) !== proof.leaf) {
    throw new Fault('The event in the file is not the one that is proved.')
  }
  if ((await rootFrom(proof)) !== root) throw new Fault('The event is not part of the log that was signed.')
  const [stream, revision] = JSON.parse(proof.leaf)
  return { stream, revision, size, time, hasEvent: proof.event !== undefined, type: proof.event?.type }
}

const form = document.querySelector('#check')
const outcome = document.querySelector('#outcome')
form.hidden = false

function say(kind, title, sentences) {
  const panel = document.createElement('div')
  panel.className = kind === 'good' ? 'notice' : 'fault'
  const strong = document.createElement('strong')
  strong.textContent = title
  const text = document.createElement('p')
  text.textContent = sentences
  panel.append(strong, text)
  outcome.replaceChildren(panel)
}

form.addEventListener('submit', async (event) => {
  event.preventDefault()
  const [file] = form.querySelector('#file').files
  outcome.replaceChildren()
  try {
    if (file.size > LARGEST) throw new Fault('The file is too large for a proof.')
    const { stream, revision, size, time, hasEvent, type } = await check(
      await file.text(),
      form.querySelector('#key').value,
    )
    const what = hasEvent ? `The event in the file (${type})` : 'An event with the hash in the file'
    say(
      'good',
      'The proof holds.',
      `${what} was ${stream} revision ${revision}, one of the ${size.toLocaleString('en')} events that were signed at ${time}.`,
    )
  } catch (error) {
    // Whatever else a file brings about, such as a value that is nested too deep: it is no proof.
    const message = error instanceof Fault ? error.message : 'The file is not a proof of this service.'
    say('bad', 'The proof does not hold.', message)
  }
})
