/** Protection against cross-site requests: which requests a web page may not send. */
import type { IncomingHttpHeaders } from 'node:http'
import { requestError } from '../errors.ts'

/** All but the first two are headers that storefronts for Magento send with a GET. */
const ASKED_FIRST = [
  'apollo-require-preflight',
  'x-apollo-operation-name',
  'authorization',
  'content-currency',
  'preview-version',
  'store',
  'x-adobe-company',
  'x-captcha',
  'x-magento-cache-id',
  'x-recaptcha',
]
/** A well-formed content type, and not one that a page may send to any origin without a preflight. */
const CONTENT_TYPE = /^\s*([\w!#$&^.+-]+\/[\w!#$&^.+-]+)\s*(;|$)/
const SIMPLE_TYPES = new Set(['application/x-www-form-urlencoded', 'multipart/form-data', 'text/plain'])

/**
 * Refuses requests that a web page of another origin could send without a preflight ("simple" requests): the timing of
 * the answer could leak data, and the visitor's cookies would be sent along. POSTs always need a preflight, by their
 * content type; a GET counts as a browser's by its headers. A legitimate page adds one of {@link ASKED_FIRST}, or a
 * content type such as `application/json`, which requires a preflight.
 * @throws RequestError 403
 */
export function checkCrossSite(headers: IncomingHttpHeaders): void {
  const site = headers['sec-fetch-site']
  if (site === 'same-origin' || site === 'none') return
  if (ASKED_FIRST.some((name) => headers[name])) return
  const type = CONTENT_TYPE.exec(headers['content-type'] ?? '')?.[1]?.toLowerCase()
  if (type !== undefined && !SIMPLE_TYPES.has(type)) return
  const isBrowser = site !== undefined || headers.origin !== undefined || headers['user-agent']?.startsWith('Mozilla/')
  if (!isBrowser) return
  throw requestError(
    'This request could be a forgery by another site (CSRF). Send it as a POST of application/json, or with the header apollo-require-preflight.',
    'CSRF_PREVENTED',
  )
}
