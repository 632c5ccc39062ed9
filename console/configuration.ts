/** The environment variables of the console, beside those that all processes share. */
import { z } from 'zod'
import { isNetwork } from '../runtime/client-address.ts'
import { readVariables, type Values, type Variable } from '../runtime/configuration.ts'
import { ConfigurationError } from '../runtime/errors.ts'
import { ROLES, type Role } from './people.ts'

const headerName = z
  .string()
  .regex(/^[\w!#$%&'*+.^`|~-]+$/)
  .transform((name) => name.toLowerCase())
const list = (text: string) =>
  text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')

const variables = {
  CONSOLE_PORT: {
    description: 'The port of the console.',
    schema: z.coerce.number().int().min(0).max(65535),
    default: 4005,
    accepted: 'a port, 0 to 65535 (0: any free one)',
  },
  CONSOLE_URL: {
    description:
      'Where browsers find the console: forms are accepted from its pages alone. Required with `CONSOLE_OIDC_ISSUER`, whose redirect goes to `/sign-in/callback` below it. Not set: forms are accepted from the host that the request names.',
    schema: z
      .url({ protocol: /^https?$/ })
      .refine((url) => ['/', ''].includes(new URL(url).pathname + new URL(url).search))
      .transform((url) => new URL(url).origin),
    default: undefined,
    accepted: 'an http or https URL without a path',
  },
  CONSOLE_SESSION_KEY: {
    description:
      'Encrypts the cookies of sessions. Another one ends all sessions. Not set: a key derived from `EMAIL_HASH_KEY`.',
    schema: z.string().min(32),
    default: undefined,
    accepted: '32 characters or more',
    secret: true,
  },
  CONSOLE_AUDIT_KEY: {
    description:
      'A file with the public key (PEM) that checkpoints and proofs are checked with, as `customers audit key` prints it. With it the console needs no `AUDIT_SIGNING_KEY`, and does not sign. Not set: the public half of `AUDIT_SIGNING_KEY`.',
    schema: z.string().min(1),
    default: undefined,
    accepted: 'a path',
  },
  CONSOLE_OIDC_ISSUER: {
    description:
      'The OpenID provider that signs people in. See [Sign-in](console.md#sign-in). Outside production, `http` is accepted too.',
    schema: z.url({ protocol: /^https?$/ }),
    default: undefined,
    accepted: 'an https URL',
  },
  CONSOLE_OIDC_CLIENT_ID: {
    description: "The console's client id at the OpenID provider.",
    schema: z.string().min(1),
    default: undefined,
    accepted: 'the client id that the provider gave',
  },
  CONSOLE_OIDC_CLIENT_SECRET: {
    description: 'Its secret. Not set: the console is a public client.',
    schema: z.string().min(1),
    default: undefined,
    accepted: 'the client secret that the provider gave',
    secret: true,
  },
  CONSOLE_OIDC_SCOPE: {
    description: 'What is asked of the OpenID provider.',
    schema: z.string().regex(/^openid( [!-~]+)*$/),
    default: 'openid profile',
    accepted: 'scopes with blanks between them, openid first',
  },
  CONSOLE_NAME_CLAIM: {
    description: "The claim with the person's name for the log. It must be unique and not change.",
    schema: z.string().min(1),
    default: 'preferred_username',
    accepted: "a claim's name",
  },
  CONSOLE_ROLES_CLAIM: {
    description: "The claim with the person's roles; dots lead into objects (`realm_access.roles`).",
    schema: z.string().min(1),
    default: 'roles',
    accepted: "a claim's name",
  },
  CONSOLE_ROLES: {
    description:
      "Which of the provider's or the proxy's values stand for which role. Several values may stand for one role. Not set: the roles' own names.",
    schema: z
      .string()
      .transform(list)
      .refine((pairs) => pairs.length > 0 && pairs.every((pair) => pair.includes('=') && isRole(pair.split('=', 1)[0])))
      .transform((pairs) =>
        pairs.map((pair) => [pair.slice(pair.indexOf('=') + 1), pair.split('=', 1)[0] as Role] as const),
      ),
    default: ROLES.map((role) => [role, role] as const),
    accepted: `pairs role=value with commas between them (auditor=audit-team); roles: ${ROLES.join(', ')}`,
  },
  CONSOLE_PROXY_HEADER: {
    description:
      'The header in which a proxy that signs people in names the person. Its requests are believed only from `CONSOLE_TRUST_PROXY`, or with `CONSOLE_PROXY_SECRET`; at least one is required.',
    schema: headerName,
    default: undefined,
    accepted: "a header's name",
  },
  CONSOLE_PROXY_ROLES_HEADER: {
    description: "The header in which the proxy names the person's roles.",
    schema: headerName,
    default: 'x-forwarded-groups',
    accepted: "a header's name",
  },
  CONSOLE_TRUST_PROXY: {
    description: 'The addresses that the proxy connects from.',
    schema: z
      .string()
      .transform(list)
      .refine((networks) => networks.length > 0 && networks.every(isNetwork)),
    default: [],
    accepted: 'addresses or networks (10.0.0.0/8) with commas between them',
  },
  CONSOLE_PROXY_SECRET: {
    description: 'When set, the proxy has to send it in the header `x-console-secret`.',
    schema: z.string().min(16),
    default: undefined,
    accepted: '16 characters or more',
    secret: true,
  },
} satisfies Readonly<Record<string, Variable>>

const isRole = (text: string | undefined) => (ROLES as readonly (string | undefined)[]).includes(text)

/** The variables of the console, by name. */
export const CONSOLE_VARIABLES: Readonly<Record<string, Variable>> = variables

export type ConsoleConfiguration = Values<typeof variables>

/** @throws ConfigurationError naming the variable, its value and what is accepted */
export function loadConsoleConfiguration(env: Readonly<Record<string, string | undefined>>): ConsoleConfiguration {
  return readVariables(variables, env)
}

/** How people sign in. `none`: not set up, in production; then there is no console. */
export type SignInKind = 'oidc' | 'proxy' | 'samples' | 'none'

/**
 * How people sign in, by what is set.
 * @throws ConfigurationError for settings that contradict or lack each other
 */
export function signInKind(settings: ConsoleConfiguration, isProduction: boolean): SignInKind {
  const { CONSOLE_OIDC_ISSUER: issuer, CONSOLE_PROXY_HEADER: header } = settings
  if (issuer !== undefined && header !== undefined) {
    throw new ConfigurationError('CONSOLE_OIDC_ISSUER and CONSOLE_PROXY_HEADER are both set; accepted: one of them.')
  }
  if (issuer !== undefined) {
    for (const name of ['CONSOLE_OIDC_CLIENT_ID', 'CONSOLE_URL'] as const) {
      if (settings[name] === undefined)
        throw new ConfigurationError(`${name} is not set; CONSOLE_OIDC_ISSUER needs it.`)
    }
    if (isProduction && !issuer.startsWith('https:')) {
      throw new ConfigurationError(
        "CONSOLE_OIDC_ISSUER: its value can't be used; accepted in production: an https URL.",
      )
    }
    return 'oidc'
  }
  if (header === undefined) return isProduction ? 'none' : 'samples'
  if (settings.CONSOLE_TRUST_PROXY.length === 0 && settings.CONSOLE_PROXY_SECRET === undefined) {
    throw new ConfigurationError(
      'CONSOLE_PROXY_HEADER is set, but neither CONSOLE_TRUST_PROXY nor CONSOLE_PROXY_SECRET: anybody could send the header.',
    )
  }
  return 'proxy'
}
