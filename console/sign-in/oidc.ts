/** Sign-in by an OpenID provider: the authorization code flow with PKCE, state and nonce (openid-client). */
import type * as Client from 'openid-client'
import { z } from 'zod'
import type { ConsoleConfiguration } from '../configuration.ts'
import { Refused } from '../errors.ts'
import { html } from '../html.ts'
import { ownPath } from '../own-path.ts'
import { acceptedName, rolesOf } from '../people.ts'
import type { SealedCookies } from './sealed-cookies.ts'
import type { SignIn } from './sign-in.ts'

/** How long a person may take at the provider. */
const LONGEST_MS = 10 * 60_000
const CALLBACK = '/sign-in/callback'

const attempt = z.object({ verifier: z.string(), state: z.string(), nonce: z.string(), back: z.string() })

/** The texts of `error` that the person can do something about. */
const REFUSALS: Readonly<Record<string, string>> = {
  access_denied: 'The sign-in was cancelled, or your account may not use the console.',
}

/** @param settings complete, see `signInKind` */
export function oidcSignIn(
  settings: ConsoleConfiguration,
  options: { readonly cookies: SealedCookies; readonly isProduction: boolean; readonly now: () => Date },
): SignIn {
  const { cookies, isProduction, now } = options
  const { CONSOLE_URL: own = '', CONSOLE_OIDC_SCOPE: scope } = settings
  const roles = new Map(settings.CONSOLE_ROLES)
  const provider = createProvider(settings, isProduction)

  return {
    page: (_, back) => html`<p>Sign in with your organisation's account.</p>
      <p><a class="button primary" href="/sign-in/start?back=${encodeURIComponent(back)}">Sign in</a></p>`,

    async start(_, reply, back) {
      const { client, configuration } = await provider()
      const [verifier, state, nonce] = [client.randomPKCECodeVerifier(), client.randomState(), client.randomNonce()]
      await cookies.set(reply, 'sign-in', { verifier, state, nonce, back }, new Date(now().getTime() + LONGEST_MS))
      const url = client.buildAuthorizationUrl(configuration, {
        redirect_uri: own + CALLBACK,
        scope,
        state,
        nonce,
        code_challenge: await client.calculatePKCECodeChallenge(verifier),
        code_challenge_method: 'S256',
      })
      return url.href
    },

    async callback(request, reply) {
      const begun = attempt.safeParse(await cookies.get(request, 'sign-in'))
      cookies.clear(reply, 'sign-in')
      if (!begun.success) throw new Refused(400, 'This sign-in was not begun here, or took too long. Sign in again.')
      const { verifier, state, nonce, back } = begun.data
      const claims = await readClaims(
        await provider(),
        new URL(request.url, own),
        { verifier, state, nonce },
        settings,
      ).catch((error: unknown) => {
        const { error: code, name } = error as { error?: string; name?: string }
        request.log.warn({ reason: code ?? name }, 'a sign-in by the OpenID provider failed')
        throw new Refused(
          403,
          REFUSALS[code ?? ''] ?? 'The sign-in failed. Sign in again; if it fails again, ask an operator.',
        )
      })
      const name = acceptedName(claimAt(claims, settings.CONSOLE_NAME_CLAIM, false))
      if (name === undefined) {
        throw new Refused(
          403,
          `Your account has no usable name: the provider must give the claim ${settings.CONSOLE_NAME_CLAIM}.`,
        )
      }
      return {
        person: {
          name,
          roles: rolesOf(claimAt(claims, settings.CONSOLE_ROLES_CLAIM), roles),
          email: acceptedName(claims.email),
        },
        back: ownPath(back),
      }
    },
  }
}

interface Provider {
  readonly client: typeof Client
  readonly configuration: Client.Configuration
}

/** Found out at the first sign-in, and kept; a failure is not. */
function createProvider(settings: ConsoleConfiguration, isProduction: boolean): () => Promise<Provider> {
  const {
    CONSOLE_OIDC_ISSUER: issuer = '',
    CONSOLE_OIDC_CLIENT_ID: id = '',
    CONSOLE_OIDC_CLIENT_SECRET: secret,
  } = settings
  let found: Promise<Provider> | undefined
  const discover = async () => {
    const client = await import('openid-client')
    // Signatures of ID tokens are checked too, where the specification would let TLS stand for them.
    const execute = [client.enableNonRepudiationChecks, ...(isProduction ? [] : [client.allowInsecureRequests])]
    const authentication = secret === undefined ? client.None() : undefined
    const configuration = await client.discovery(new URL(issuer), id, secret, authentication, { execute, timeout: 10 })
    return { client, configuration }
  }
  return () => {
    found ??= discover().catch((error: unknown) => {
      found = undefined
      throw new Refused(
        503,
        `The OpenID provider does not answer as expected (${(error as { code?: string }).code ?? 'unreachable'}). Try again later.`,
      )
    })
    return found
  }
}

/** The claims of the ID token, and those of the user info that it lacks. */
async function readClaims(
  { client, configuration }: Provider,
  url: URL,
  begun: { readonly verifier: string; readonly state: string; readonly nonce: string },
  settings: ConsoleConfiguration,
): Promise<Readonly<Record<string, unknown>>> {
  const tokens = await client.authorizationCodeGrant(configuration, url, {
    pkceCodeVerifier: begun.verifier,
    expectedState: begun.state,
    expectedNonce: begun.nonce,
    idTokenExpected: true,
  })
  const claims: Readonly<Record<string, unknown>> = { ...tokens.claims() }
  const { issuer, userinfo_endpoint } = configuration.serverMetadata()
  // Of Entra ID the library accepts each organisation's where the issuer is `common` or `organizations`.
  if (claims.iss !== issuer)
    throw Object.assign(new Error('The ID token is of another issuer.'), { error: 'another_issuer' })
  const wanted = [claimAt(claims, settings.CONSOLE_NAME_CLAIM, false), claimAt(claims, settings.CONSOLE_ROLES_CLAIM)]
  if (!wanted.includes(undefined) || userinfo_endpoint === undefined) return claims
  return { ...(await client.fetchUserInfo(configuration, tokens.access_token, String(claims.sub))), ...claims }
}

/** A claim by its name, which may have dots in it (`https://shop.example/roles`), or by a path of names. */
function claimAt(claims: Readonly<Record<string, unknown>>, name: string, isPath = true): unknown {
  if (Object.hasOwn(claims, name) || !isPath) return claims[name]
  let value: unknown = claims
  for (const part of name.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, part)) return undefined
    value = (value as Readonly<Record<string, unknown>>)[part]
  }
  return value
}
