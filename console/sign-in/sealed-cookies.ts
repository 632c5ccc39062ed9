/**
 * Cookies that only the console can read and write: encrypted JWTs (A256GCM), with the time until which each holds. The
 * server keeps nothing, so any instance answers any request.
 */
import { hkdfSync } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { JWTPayload } from 'jose'
import { EncryptJWT, jwtDecrypt } from 'jose'

/** What a cookie is for; one made for another purpose is not accepted. */
type Purpose = 'session' | 'reason' | 'notice' | 'sign-in'

export interface SealedCookies {
  /**
   * Sets a cookie.
   * @param until when it ends
   */
  set(reply: FastifyReply, purpose: Purpose, content: JWTPayload, until: Date): Promise<void>
  /** The content; undefined if there is none, or if it is forged, of another key or purpose, or has ended. */
  get(request: FastifyRequest, purpose: Purpose): Promise<JWTPayload | undefined>
  clear(reply: FastifyReply, purpose: Purpose): void
}

/**
 * @param options.key any secret of 32 characters or more
 * @param options.isSecure whether browsers send the cookies over TLS alone: in production
 */
export function createSealedCookies(options: {
  readonly key: string
  readonly isSecure: boolean
  readonly now: () => Date
}): SealedCookies {
  const { isSecure, now } = options
  const key = new Uint8Array(hkdfSync('sha256', options.key, '', 'cookies of the console', 32))
  // The prefix makes browsers refuse a cookie of another host or path.
  const nameOf = (purpose: Purpose) => `${isSecure ? '__Host-' : ''}console-${purpose}`
  const attributes = (purpose: Purpose) =>
    ({
      path: '/',
      httpOnly: true,
      secure: isSecure,
      // The provider sends the browser back from another site.
      sameSite: purpose === 'sign-in' ? 'lax' : 'strict',
    }) as const
  return {
    async set(reply, purpose, content, until) {
      const sealed = await new EncryptJWT(content)
        .setProtectedHeader({ alg: 'dir', enc: 'A256GCM' })
        .setAudience(purpose)
        .setExpirationTime(until)
        .encrypt(key)
      reply.setCookie(nameOf(purpose), sealed, { ...attributes(purpose), expires: until })
    },
    async get(request, purpose) {
      const sealed = request.cookies[nameOf(purpose)]
      if (sealed === undefined) return undefined
      try {
        const { payload } = await jwtDecrypt(sealed, key, {
          audience: purpose,
          currentDate: now(),
          requiredClaims: ['exp'],
          keyManagementAlgorithms: ['dir'],
          contentEncryptionAlgorithms: ['A256GCM'],
        })
        return payload
      } catch {
        return undefined
      }
    },
    clear: (reply, purpose) => void reply.clearCookie(nameOf(purpose), attributes(purpose)),
  }
}
