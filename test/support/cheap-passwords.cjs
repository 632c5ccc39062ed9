/**
 * Loaded into each process of a test: the service's password hashes cost a thousandth of what they cost in production,
 * where one keeps a core busy for 30 ms, and tests make thousands. The service's code is as it is, and so are the stored
 * texts. Hashes with other parameters, Magento's among them, are real ones. Without this where TEST_REAL_PASSWORDS is set:
 * there test/subgraph/identity.test.ts compares hashes to their definition.
 */
const crypto = require('node:crypto')
const { flushCompileCache, syncBuiltinESMExports } = require('node:module')

/** As in subgraph/identity/passwords.ts. */
const isOwn = ({ memory, passes, parallelism }) => memory === 19_456 && passes === 2 && parallelism === 1

if (process.env.TEST_REAL_PASSWORDS === undefined) {
  const { argon2 } = crypto
  crypto.argon2 = (algorithm, parameters, callback) =>
    argon2(algorithm, isOwn(parameters) ? { ...parameters, memory: 8, passes: 1 } : parameters, callback)
  syncBuiltinESMExports()
}

/** What the process has compiled by then is for the others, too. It is written at the end otherwise, and most are killed. */
const FLUSH_MS = 2_000
if (flushCompileCache) setTimeout(flushCompileCache, FLUSH_MS).unref()
