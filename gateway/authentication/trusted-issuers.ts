/** Reads the file of `TRUSTED_ISSUERS`: whose tokens count beside those of the customer subgraph. */
import { readFileSync } from 'node:fs'
import { parse as parseYaml, YAMLError } from 'yaml'
import { z } from 'zod'
import { ConfigurationError } from '../../runtime/errors.ts'
import { isReservedHeader } from '../subgraphs/headers.ts'

/** Those with a public key. With a shared secret, or none, whoever verifies a token could also make one. */
const ALGORITHMS = [
  ...['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'],
  ...['ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'],
] as const

const httpUrl = z.url({ protocol: /^https?$/, error: 'an http or https URL' })
const text = z.string().min(1).max(1_000)
const list = <T extends z.ZodType>(of: T) => z.union([of.transform((one) => [one]), z.array(of).min(1)])

/**
 * Where a value stands among the claims: names with dots between them. A list for names that have dots themselves, such
 * as `[https://shop.example/roles]`.
 */
const place = z.union([text.transform((path) => path.split('.')), z.array(text).min(1)])

const headerName = z
  .string()
  .transform((name) => name.toLowerCase())
  .refine(
    (name) => /^x-[a-z0-9-]+$/.test(name) && !isReservedHeader(name),
    'names of headers that begin with x- and are not the gateway’s own',
  )

const trustedIssuer = z
  .strictObject({
    /** Claim `iss`, to the letter. */
    issuer: text,
    /** Claim `aud`: one of these has to be in it. */
    audience: list(text),
    /** Default: the `jwks_uri` of the issuer's discovery document. */
    jwksUrl: httpUrl.optional(),
    algorithms: list(z.enum(ALGORITHMS)).default(['RS256', 'ES256', 'EdDSA']),
    /** What `@requiresScopes` looks at. */
    scopes: place.default(['scope']),
    /** What `@policy` looks at. */
    policies: place.default(['policies']),
    /** The subgraphs that get the token, and the headers of `claims`. For the others the bearer is a guest. */
    subgraphs: z.array(text).default([]),
    /** Headers for these subgraphs, with the place of the claim that each has. */
    claims: z.record(headerName, place).default({}),
  })
  .refine(({ jwksUrl, issuer }) => jwksUrl !== undefined || httpUrl.safeParse(issuer).success, {
    message: 'an http or https URL, because its discovery document says where the keys are; or set jwksUrl',
    path: ['issuer'],
  })

export type TrustedIssuer = z.infer<typeof trustedIssuer>

const trustedIssuers = z
  .array(trustedIssuer)
  .refine((all) => new Set(all.map(({ issuer }) => issuer)).size === all.length, 'each issuer once')

/** What the settings of the issuers have to fit. */
export interface Surroundings {
  /** The issuer of the customer subgraph's tokens. */
  readonly ownIssuer: string
  /** The subgraphs of the graph; undefined if it can't be read. */
  readonly subgraphs: readonly string[] | undefined
  /** The client's headers that go down to all subgraphs. */
  readonly forwarded: readonly string[]
}

/**
 * @param path of a YAML or JSON file
 * @throws ConfigurationError that names the setting and what is accepted
 */
export function loadTrustedIssuers(path: string, surroundings: Surroundings): TrustedIssuer[] {
  let given: unknown
  try {
    given = parseYaml(readFileSync(path, 'utf8'))
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const why = error instanceof YAMLError ? message.split('\n')[0]?.replace(/:$/, '') : (code ?? message)
    throw new ConfigurationError(`TRUSTED_ISSUERS: ${JSON.stringify(path)} can't be read (${why}).`)
  }
  const result = trustedIssuers.safeParse(given)
  if (!result.success) {
    const [issue] = result.error.issues
    throw problem(path, issue?.path ?? [], describe(issue))
  }
  for (const [index, issuer] of result.data.entries()) check(path, index, issuer, surroundings)
  return result.data
}

function check(path: string, index: number, issuer: TrustedIssuer, surroundings: Surroundings): void {
  const { ownIssuer, subgraphs, forwarded } = surroundings
  if (issuer.issuer === ownIssuer) {
    throw problem(path, [index, 'issuer'], `${JSON.stringify(ownIssuer)} is TOKEN_ISSUER; accepted: other issuers`)
  }
  for (const name of issuer.subgraphs) {
    // It would refuse the token, and with it the whole request.
    const accepted = subgraphs?.filter((each) => each !== 'customers')
    if (name !== 'customers' && (accepted === undefined || accepted.includes(name))) continue
    const others = accepted === undefined ? 'other subgraphs' : accepted.join(', ') || 'none, the graph has no other'
    const why = name === 'customers' ? 'takes its own tokens alone' : 'is not in the graph'
    throw problem(path, [index, 'subgraphs'], `${JSON.stringify(name)} ${why}; accepted: ${others}`)
  }
  const both = Object.keys(issuer.claims).find((name) => forwarded.includes(name))
  if (both !== undefined) {
    throw problem(
      path,
      [index, 'claims'],
      `FORWARD_HEADERS or SUBGRAPH_SETTINGS has ${both}, too, so clients could send it themselves`,
    )
  }
}

type Issue = z.core.$ZodIssue | undefined

function describe(issue: Issue): string {
  if (issue === undefined) return 'it is wrong'
  if (issue.code === 'unrecognized_keys') return `there is no setting ${JSON.stringify(issue.keys[0])}`
  if (issue.code === 'invalid_key') return `accepted: ${issue.issues[0]?.message}`
  if (issue.code === 'invalid_union') return accepted(issue.errors.flat()[0])
  return accepted(issue)
}

function accepted(issue: Issue): string {
  if (issue?.code === 'invalid_value') return `accepted: ${issue.values.join(', ')}`
  if (issue?.code === 'invalid_type') return `accepted: ${issue.expected}`
  return `accepted: ${issue?.message}`
}

/** @param at where the setting stands: the number of the entry, and names */
function problem(path: string, at: readonly PropertyKey[], what: string): ConfigurationError {
  const [index, ...names] = at
  const where = typeof index === 'number' ? [`entry ${index + 1}`, ...names.map(String)].join('.') : 'the file'
  return new ConfigurationError(`TRUSTED_ISSUERS: ${path}: ${where}: ${what}.`)
}
