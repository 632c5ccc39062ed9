/**
 * CAPTCHA as Magento 2.4.9 has it in GraphQL: the client solves one and sends its token in the header `X-ReCaptcha`;
 * the subgraph has the provider verify it before a protected operation is carried out. reCAPTCHA, hCaptcha and
 * Turnstile verify by the same request (`siteverify`). It fails closed: without an answer from the provider, the
 * operation is refused.
 */
import type { FastifyBaseLogger } from 'fastify'
import { ConfigurationError } from '../../runtime/errors.ts'
import { traceIds } from '../../runtime/tracing.ts'
import type { Store } from '../../schema/store.ts'
import { refusal } from '../errors.ts'
import type { RequestContext } from './request-context.ts'

type Form = Store['captcha']['forms'][number]

/** Which form's setting protects which operation: Magento's (ReCaptchaCustomer, ReCaptchaNewsletter). */
const FORMS: Readonly<Record<string, Form>> = {
  generateCustomerToken: 'CUSTOMER_LOGIN',
  createCustomer: 'CUSTOMER_CREATE',
  createCustomerV2: 'CUSTOMER_CREATE',
  updateCustomer: 'CUSTOMER_EDIT',
  updateCustomerV2: 'CUSTOMER_EDIT',
  changeCustomerPassword: 'CUSTOMER_EDIT',
  requestPasswordResetEmail: 'CUSTOMER_FORGOT_PASSWORD',
  subscribeEmailToNewsletter: 'NEWSLETTER',
  resendConfirmationEmail: 'RESEND_CONFIRMATION_EMAIL',
}

const VERIFY_URLS = {
  recaptcha: 'https://www.google.com/recaptcha/api/siteverify',
  hcaptcha: 'https://api.hcaptcha.com/siteverify',
  turnstile: 'https://challenges.cloudflare.com/turnstile/v0/siteverify',
} as const

/** A mutation has 5 s in total. */
const TIMEOUT_MS = 3_000
/** Longer than any provider's token. */
const MOST_CHARACTERS = 8_192
const MOST_ANSWER_BYTES = 65_536

export interface Captcha {
  /** `recaptchaV3Config` of the schema. */
  readonly v3Config: object
  /** `recaptchaFormConfig` of the schema. */
  formConfig(form: string): object
  /**
   * Makes the mutations that the store protects require a verified token. Services are exempt, as in Magento.
   * @param mutations the resolvers by name; replaced in place
   */
  protect(mutations: object): void
}

/**
 * @param secret the provider's
 * @throws ConfigurationError if the store requires a CAPTCHA and there is no secret
 */
export function createCaptcha({ captcha }: Store, secret: string | undefined, log: FastifyBaseLogger): Captcha {
  const { provider, version, websiteKey, minimumScore, badgePosition, theme, languageCode, failureMessage } = captcha
  const isEnabled = provider !== 'none'
  if (isEnabled && secret === undefined) {
    throw new ConfigurationError(`CAPTCHA_SECRET is not set; it is required where captcha.provider is ${provider}.`)
  }
  const verifyUrl = captcha.verifyUrl ?? (isEnabled ? VERIFY_URLS[provider] : '')
  const isOn = (form: string) => isEnabled && captcha.forms.includes(form as Form)
  const isV3 = provider === 'recaptcha' && version === 'v3'

  /** @throws CustomerError (graphql-input) */
  async function verify({ captcha: token, traceparent }: RequestContext): Promise<void> {
    const failed = () => refusal('CAPTCHA_FAILED', { message: failureMessage })
    if (token === undefined || token.length > MOST_CHARACTERS) throw failed()
    const answer = await ask(token, traceparent)
    if (answer.success !== true) throw failed()
    if (isV3 && !(typeof answer.score === 'number' && answer.score >= minimumScore)) throw failed()
  }

  async function ask(
    token: string,
    traceparent: string | undefined,
  ): Promise<{ readonly success?: unknown; readonly score?: unknown }> {
    try {
      const response = await fetch(verifyUrl, {
        method: 'POST',
        body: new URLSearchParams({ secret: secret ?? '', response: token }),
        redirect: 'error',
        signal: AbortSignal.timeout(TIMEOUT_MS),
      })
      if (!response.ok) throw new Error(`status ${response.status}`)
      if (Number(response.headers.get('content-length') ?? 0) > MOST_ANSWER_BYTES)
        throw new Error('an answer too large')
      const answer: unknown = await response.json()
      if (typeof answer !== 'object' || answer === null) throw new Error('an answer of another form')
      return answer
    } catch (error) {
      log.error(
        { provider, reason: (error as Error).message, ...traceIds(traceparent) },
        'the CAPTCHA provider does not answer; the operation is refused',
      )
      throw refusal('CAPTCHA_UNAVAILABLE')
    }
  }

  return {
    v3Config: {
      is_enabled: isV3 && captcha.forms.length > 0,
      website_key: isV3 ? websiteKey : '',
      minimum_score: minimumScore,
      badge_position: badgePosition,
      theme,
      language_code: languageCode,
      failure_message: failureMessage,
      forms: isV3 ? captcha.forms : [],
    },

    formConfig: (form) =>
      isOn(form)
        ? {
            is_enabled: true,
            configurations: {
              re_captcha_type: isV3 ? 'RECAPTCHA_V3' : version === 'invisible' ? 'INVISIBLE' : 'RECAPTCHA',
              website_key: websiteKey,
              minimum_score: isV3 ? minimumScore : null,
              badge_position: badgePosition,
              theme,
              language_code: languageCode,
              validation_failure_message: failureMessage,
              technical_failure_message: refusal('CAPTCHA_UNAVAILABLE').message,
            },
          }
        : { is_enabled: false, configurations: null },

    protect(mutations) {
      const fields = mutations as Record<string, (...args: [unknown, unknown, RequestContext, unknown]) => unknown>
      for (const [name, form] of Object.entries(FORMS)) {
        const resolve = fields[name]
        if (resolve === undefined || !isOn(form)) continue
        fields[name] = async (...args) => {
          const [, , context] = args
          if (context.service === null) await verify(context)
          return resolve(...args)
        }
      }
    },
  }
}
