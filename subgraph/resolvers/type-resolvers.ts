/** The resolvers of types other than the root ones: entities of the graph, and fields that depend on arguments. */
import { isRegistered } from '../../projections/customer.ts'
import { viewOf } from '../../schema/store.ts'
import { checkUsable } from '../domain/customer.ts'
import { refusal } from '../errors.ts'
import type { RequestContext } from '../http/request-context.ts'
import { requireScope } from '../identity/scopes.ts'
import { createAssistance, type Page } from './admin-assistance.ts'
import type { ShowList } from './large-lists.ts'
import type { ResolverParts } from './resolvers.ts'
import type { SignedIn } from './signed-in-customer.ts'
import { type AttributeView, chosen, toStoreConfig, toUid, type Views } from './views.ts'

interface AttributeCodes {
  readonly attributeCodes?: readonly string[] | null
}

export function createTypeResolvers(
  { eventStore, customers, store, now }: ResolverParts,
  signedIn: SignedIn,
  { toCustomer, toAddress }: Views,
  showList: ShowList,
) {
  const groups = store.groups.map(({ id, name }) => ({ uid: toUid(id), name }))
  const storeConfig = toStoreConfig(store)
  const assistance = createAssistance(eventStore)

  return {
    Customer: {
      /** Another subgraph may name any customer: the fields are for that customer, and for services that may read all. */
      async __resolveReference(reference: { id: number }, context: RequestContext) {
        if (context.service) {
          requireScope(context, 'customers:read')
          const named = await customers.get(Number(reference.id), context.traceparent)
          return isRegistered(named) ? toCustomer(named) : null
        }
        const document = await signedIn(context)
        if (document.id !== Number(reference.id)) throw refusal('NOT_AUTHORIZED')
        checkUsable(document, now(), store)
        return toCustomer(document)
      },

      addresses: ({ addresses }: { addresses: readonly object[] }, _: unknown, context: RequestContext) =>
        showList(addresses, context),

      async addressesV2(
        { addresses }: { addresses: readonly object[] },
        { currentPage, pageSize }: { currentPage: number; pageSize: number },
        context: RequestContext,
      ) {
        const page = pageOf(addresses, currentPage, pageSize)
        return { ...page, items: await showList(page.items, context) }
      },

      /** The customer's own; for services it is the same as the account's history. */
      async admin_assistance_actions({ id }: { id: number }, page: Page, context: RequestContext) {
        if (context.service) requireScope(context, 'customers:audit')
        // A mutation that needs no token may answer with a customer, too.
        else if ((await signedIn(context)).id !== id) throw refusal('NOT_AUTHORIZED')
        return assistance(id, page)
      },

      custom_attributes: (
        { custom_attributes }: { custom_attributes: readonly AttributeView[] },
        { attributeCodes }: AttributeCodes,
      ) => chosen(custom_attributes, attributeCodes),
    },

    CustomerAddress: {
      async __resolveReference(reference: { id: number }, context: RequestContext) {
        const document = await signedIn(context)
        const address = document.addresses.find(({ id }) => id === Number(reference.id))
        // The answer does not tell whether it is somebody else's or nobody's.
        if (address === undefined) throw refusal('NOT_AUTHORIZED')
        return toAddress(document, address)
      },

      uid: ({ id }: { id: number }) => toUid(id),

      custom_attributes: ({ custom_attributesV2 }: { custom_attributesV2: readonly AttributeView[] }) =>
        custom_attributesV2.map((attribute) => ({
          attribute_code: attribute.code,
          value:
            'value' in attribute ? attribute.value : attribute.selected_options.map(({ value }) => value).join(','),
        })),

      custom_attributesV2: (
        { custom_attributesV2 }: { custom_attributesV2: readonly AttributeView[] },
        { attributeCodes }: AttributeCodes,
      ) => chosen(custom_attributesV2, attributeCodes),
    },

    CustomerGroupStorefront: {
      /** Other subgraphs know a group by its uid alone. */
      __resolveReference: ({ uid }: { uid: string }) => ({ uid }),
      name: ({ uid }: { uid: string }) =>
        store.account.shareAllGroups ? (groups.find((group) => group.uid === uid)?.name ?? null) : null,
    },

    StoreConfig: {
      /** The settings of accounts hold for all store views, also for those that only other subgraphs know. */
      __resolveReference: ({ store_code }: { store_code: string }) => {
        const view = viewOf(store, store_code) ?? { id: null, code: store_code, locale: null }
        return { ...storeConfig, id: view.id, store_code, locale: view.locale }
      },
    },

    AttributeValueInterface: {
      __resolveType: (attribute: AttributeView) =>
        'value' in attribute ? 'AttributeValue' : 'AttributeSelectedOptions',
    },
    AttributeSelectedOptionInterface: { __resolveType: () => 'AttributeSelectedOption' },
    CustomAttributeMetadataInterface: { __resolveType: () => 'CustomerAttributeMetadata' },
    CustomAttributeOptionInterface: { __resolveType: () => 'AttributeOptionMetadata' },
  }
}

/** @throws CustomerError (graphql-input) if a number is not positive */
function pageOf(items: readonly object[], currentPage: number, pageSize: number) {
  if (pageSize < 1) throw refusal('VALUE_NOT_POSITIVE', { name: 'pageSize' })
  if (currentPage < 1) throw refusal('VALUE_NOT_POSITIVE', { name: 'currentPage' })
  return {
    items: items.slice((currentPage - 1) * pageSize, currentPage * pageSize),
    page_info: {
      current_page: currentPage,
      page_size: pageSize,
      total_pages: Math.ceil(items.length / pageSize),
    },
    total_count: items.length,
  }
}
