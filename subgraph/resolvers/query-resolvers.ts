/** The resolvers of the queries. */
import { lazily } from '../../runtime/lazily.ts'
import { COUNTRIES } from '../../schema/countries.ts'
import { checkUsable } from '../domain/customer.ts'
import { isValidEmail } from '../domain/email.ts'
import { refusal } from '../errors.ts'
import type { RequestContext } from '../http/request-context.ts'
import { type AttributeReference, createAttributeForms } from './attribute-forms.ts'
import { createAuditQueries } from './audit-queries.ts'
import type { ShowList } from './large-lists.ts'
import type { ResolverParts } from './resolvers.ts'
import type { SignedIn } from './signed-in-customer.ts'
import { toCountry, toStoreConfig, toUid, toView, type Views } from './views.ts'

/** Magento's group of visitors who are not signed in. */
const GUESTS = 0

export function createQueryResolvers(
  { eventStore, claims, store, captcha, now }: ResolverParts,
  signedIn: SignedIn,
  { toCustomer }: Views,
  showList: ShowList,
) {
  const countries = lazily(() =>
    [...COUNTRIES.values()]
      .filter(({ id }) => store.countries.allowed === 'all' || store.countries.allowed.includes(id))
      .map(toCountry),
  )
  const groups = store.groups.map(({ id, name }) => ({ uid: toUid(id), name }))
  const storeConfig = toStoreConfig(store)
  const attributes = createAttributeForms(store)

  return {
    async customer(_: unknown, _args: unknown, context: RequestContext) {
      const document = await signedIn(context)
      checkUsable(document, now(), store)
      return toCustomer(document)
    },

    async customerGroup(_: unknown, _args: unknown, context: RequestContext) {
      if (!store.account.shareGroup) throw refusal('GROUPS_NOT_SHARED')
      return { uid: toUid(context.caller === null ? GUESTS : (await signedIn(context)).groupId) }
    },

    async allCustomerGroups() {
      if (!store.account.shareAllGroups) throw refusal('GROUPS_NOT_SHARED')
      return groups
    },

    async isEmailAvailable(_: unknown, { email }: { email: string }) {
      if (email.trim() === '') throw refusal('AVAILABILITY_EMAIL_MISSING')
      if (!isValidEmail(email)) throw refusal('AVAILABILITY_EMAIL_INVALID')
      return { is_email_available: !store.account.revealEmailAvailability || !(await claims.find(email)) }
    },

    countries: (_: unknown, _args: unknown, context: RequestContext) => showList(countries(), context),

    country(_: unknown, { id }: { id?: string | null }) {
      if (!id) throw refusal('COUNTRY_ID_MISSING')
      const country = countries().find((each) => each.id === id)
      if (country === undefined) throw refusal('COUNTRY_UNAVAILABLE')
      return country
    },

    storeConfig: (_: unknown, _args: unknown, { view }: RequestContext) => ({ ...storeConfig, ...toView(view) }),

    attributesForm: (_: unknown, { formCode }: { formCode: string }) => attributes.form(formCode),

    recaptchaV3Config: () => captcha.v3Config,

    recaptchaFormConfig: (_: unknown, { formType }: { formType: string }) => captcha.formConfig(formType),

    attributesList: (_: unknown, { entityType, filters }: { entityType: string; filters?: object | null }) =>
      attributes.list(entityType, filters),

    customAttributeMetadataV2: (_: unknown, args: { attributes?: readonly AttributeReference[] | null }) =>
      attributes.named(args.attributes),

    ...createAuditQueries(eventStore, toCustomer),
  }
}
