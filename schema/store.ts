/** The store's settings: what Magento keeps in its store configuration, in one file that is checked at start. */

import { readFileSync } from 'node:fs'
import { parse as parseYaml, YAMLError } from 'yaml'
import { z } from 'zod'
import { StoreSettingsError } from './errors.ts'

const count = z.int().positive()
const fieldUse = z.enum(['required', 'optional'])
const countryCode = z.string().regex(/^[A-Z]{2}$/, 'a two-letter country code')
const link = z
  .string()
  .max(2_000)
  .regex(/^https?:\/\/\S+$/, 'an http or https URL')
/** The size of Magento's columns for settings and labels. */
const name = z.string().min(1).max(255)

const day = z.iso.date()

/** The form of a text, by Magento's names of input validation. */
const INPUT_VALIDATIONS = ['alphanumeric', 'alphanum-with-spaces', 'numeric', 'alpha', 'email', 'url'] as const

/** An attribute that the store gives its customers or addresses beside Magento's own. */
const customAttribute = z
  .strictObject({
    code: z.string().regex(/^[a-z][a-z0-9_]{0,59}$/, 'lower-case letters, digits and _, a letter first'),
    label: name,
    type: z.enum(['text', 'textarea', 'multiline', 'boolean', 'date', 'datetime', 'select', 'multiselect']),
    required: z.boolean().default(false),
    /** The position in forms. Default: after Magento's own attributes, in the order of this file. */
    sortOrder: z.int().nonnegative().optional(),
    /** The initial value in forms: a text, a day, 0 or 1. For options, see `default` of an option. */
    default: z.string().max(255).optional(),
    /** Of the type multiline: how many lines there may be. */
    lines: z.int().min(1).max(20).default(2),
    options: z
      .array(z.strictObject({ value: name, label: z.string().max(255), default: z.boolean().default(false) }))
      .default([]),
    /** Rules for texts (length, form) and for days (range, inclusive). */
    validate: z
      .strictObject({
        minLength: z.int().nonnegative().optional(),
        maxLength: count.optional(),
        input: z.enum(INPUT_VALIDATIONS).optional(),
        minDate: day.optional(),
        maxDate: day.optional(),
      })
      .default({}),
  })
  .refine(({ type, options }) => (type === 'select' || type === 'multiselect') === options.length > 0, {
    message: 'options go with the types select and multiselect, and only with these',
    path: ['options'],
  })
  .refine(({ type, options }) => type !== 'select' || options.filter((option) => option.default).length <= 1, {
    message: 'a select has one default at most',
    path: ['options'],
  })
  .refine(({ type, validate: { minDate, maxDate } }) => /^date/.test(type) || (minDate ?? maxDate) === undefined, {
    message: 'minDate and maxDate go with the types date and datetime',
    path: ['validate'],
  })
  .refine(
    ({ type, validate: { minLength, maxLength, input } }) =>
      ['text', 'textarea', 'multiline'].includes(type) || (minLength ?? maxLength ?? input) === undefined,
    { message: 'minLength, maxLength and input go with the types text, textarea and multiline', path: ['validate'] },
  )
export type CustomAttribute = z.infer<typeof customAttribute>

const customAttributes = z
  .array(customAttribute)
  .refine((attributes) => new Set(attributes.map(({ code }) => code)).size === attributes.length, 'each code once')

/** The forms of customers that a CAPTCHA can protect: those of Magento's `ReCaptchaFormEnum` that are served here. */
const CAPTCHA_FORMS = [
  'CUSTOMER_LOGIN',
  'CUSTOMER_CREATE',
  'CUSTOMER_EDIT',
  'CUSTOMER_FORGOT_PASSWORD',
  'NEWSLETTER',
  'RESEND_CONFIRMATION_EMAIL',
] as const

const view = z.strictObject({ id: count, code: name, locale: name.min(2) })

const settings = z
  .strictObject({
    view,
    moreViews: z.array(view),
    account: z.strictObject({
      confirmationRequired: z.boolean(),
      defaultGroup: z.int().nonnegative(),
      shareGroup: z.boolean(),
      shareAllGroups: z.boolean(),
      revealEmailAvailability: z.boolean(),
      shoppingAssistance: z.strictObject({ enabled: z.boolean(), title: z.string(), tooltip: z.string() }),
      confirmationRequestsPerHour: z.int().nonnegative(),
      revealConfirmation: z.boolean(),
    }),
    groups: z.array(z.strictObject({ id: z.int().nonnegative(), name })),
    password: z.strictObject({
      minimumLength: count.max(256),
      requiredCharacterClasses: z.int().min(1).max(4),
      resetLinkHours: z.number().positive(),
      resetRequestsPerHour: z.int().nonnegative(),
      resetMinutesBetween: z.number().nonnegative(),
    }),
    lockout: z.strictObject({ failures: count.max(100), minutes: z.number().positive() }),
    signInThrottle: z.strictObject({ failures: count.max(100), seconds: z.number().positive() }),
    token: z.strictObject({ lifetimeMinutes: z.number().positive() }),
    address: z.strictObject({
      streetLines: count.max(20),
      maxPerCustomer: count,
      telephone: fieldUse,
      company: fieldUse,
      fax: fieldUse,
    }),
    newsletter: z.strictObject({
      active: z.boolean(),
      confirmationRequired: z.boolean(),
      confirmationRequestsPerHour: z.int().nonnegative(),
      allowGuests: z.boolean(),
    }),
    countries: z.strictObject({
      allowed: z.union([z.literal('all'), z.array(countryCode).min(1)]),
      regionRequired: z.array(countryCode),
      postcodeOptional: z.array(countryCode),
      default: countryCode,
      showOptionalRegion: z.boolean(),
    }),
    customAttributes: z.strictObject({ customer: customAttributes, address: customAttributes }),
    audit: z.strictObject({
      keepClientAddress: z.enum(['none', 'network', 'full']),
      keepUserAgent: z.boolean(),
      retentionDays: count,
      secondPerson: z.boolean(),
      approvalDays: count.max(365),
    }),
    captcha: z.strictObject({
      provider: z.enum(['none', 'recaptcha', 'hcaptcha', 'turnstile']),
      version: z.enum(['v2', 'invisible', 'v3']),
      websiteKey: z.string(),
      minimumScore: z.number().min(0).max(1),
      verifyUrl: link.optional(),
      badgePosition: z.enum(['inline', 'bottomright', 'bottomleft']),
      theme: z.enum(['light', 'dark']),
      languageCode: z.string(),
      failureMessage: z.string().min(1),
      forms: z.array(z.enum(CAPTCHA_FORMS)),
    }),
    mail: z.strictObject({
      storeName: name,
      from: z.email(),
      welcome: z.boolean(),
      resetPasswordUrl: link,
      confirmAccountUrl: link,
      confirmNewsletterUrl: link,
    }),
  })
  .refine(({ view, moreViews }) => isEachOnce([view, ...moreViews].map(({ code }) => code)), {
    message: 'each code once',
    path: ['moreViews'],
  })
  .refine(({ captcha }) => captcha.provider === 'none' || captcha.websiteKey !== '', {
    message: 'the key that the provider gave for pages of the shop',
    path: ['captcha', 'websiteKey'],
  })
  .refine(({ account, groups }) => groups.some(({ id }) => id === account.defaultGroup), {
    message: 'the id of one of the groups',
    path: ['account', 'defaultGroup'],
  })

/** The store's settings, whole and checked. */
export type Store = z.infer<typeof settings>

type Given = z.input<typeof settings>
type ReadonlyDeep<T> = T extends object ? { readonly [K in keyof T]: ReadonlyDeep<T[K]> } : T

/**
 * The store view that a client asks for.
 * @param header `Store`: a view's code; `default`, an empty one and no header mean the default view, as in Magento
 * @returns undefined if there is no such view
 */
export function viewOf({ view, moreViews }: Store, header: string | string[] | undefined): Store['view'] | undefined {
  const code = typeof header === 'string' ? header.trim() : ''
  const isDefault = code === '' || code === view.code
  return isDefault
    ? view
    : (moreViews.find((each) => each.code === code) ?? (/^default$/i.test(code) ? view : undefined))
}

/** Settings by name, as far as a file gives them. */
export type PartialStore = ReadonlyDeep<{
  [S in keyof Given]?: Given[S] extends readonly unknown[] ? Given[S] : Partial<Given[S]>
}>

const DEFAULTS = new URL('./store.yaml', import.meta.url)
const defaults = parseYaml(readFileSync(DEFAULTS, 'utf8')) as Record<string, unknown>

/**
 * The settings of a file merged over the defaults (store.yaml beside this module).
 * @param path a YAML or JSON file; none: the defaults
 * @throws StoreSettingsError naming the setting and what is accepted
 */
export function loadStore(path?: string): Store {
  if (path === undefined) return store()
  let given: unknown
  try {
    given = parseYaml(readFileSync(path, 'utf8'))
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    // Of YAML that is broken, the first line of the message says what and where.
    const why = error instanceof YAMLError ? message.split('\n')[0]?.replace(/:$/, '') : (code ?? message)
    throw new StoreSettingsError(`STORE_CONFIG: ${JSON.stringify(path)} can't be read (${why}).`)
  }
  if (given !== null && !isGroup(given)) {
    throw new StoreSettingsError(`STORE_CONFIG: ${path} can't be used; accepted: settings as in schema/store.yaml.`)
  }
  return store((given ?? {}) as PartialStore, path)
}

/** @param from names the origin in messages. @throws StoreSettingsError */
export function store(given: PartialStore = {}, from = 'store'): Store {
  const result = settings.safeParse(merge(defaults, given))
  if (result.success) return result.data
  const [issue] = result.error.issues
  const keys = issue?.code === 'unrecognized_keys' ? [issue.keys[0] ?? ''] : []
  const setting = [...(issue?.path ?? []), ...keys].join('.')
  const problem = issue?.code === 'unrecognized_keys' ? 'there is no such setting' : issue?.message
  throw new StoreSettingsError(`STORE_CONFIG: ${from}: ${setting}: ${problem}.`)
}

/** One level of groups with their settings: a list is replaced whole. */
function merge(base: Record<string, unknown>, given: Record<string, unknown>): Record<string, unknown> {
  const merged = { ...base }
  for (const [name, value] of Object.entries(given)) {
    const own = base[name]
    merged[name] = isGroup(own) && isGroup(value) ? { ...own, ...value } : value
  }
  return merged
}

const isEachOnce = (names: readonly string[]) => new Set(names).size === names.length

function isGroup(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
