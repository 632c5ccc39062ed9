/**
 * Storefronts built for Magento send their documents unchanged: the operations of four of them for the account, address and
 * sign-in pages, one after another as a customer would cause them, through the gateway.
 *
 * What these pages also show, of other modules of Magento, belongs to other subgraphs and is left out of the documents:
 * orders, returns, reviews, wish lists, carts, gift cards, reward points, store credit, saved payments, companies, contact
 * forms, reCAPTCHA, the catalogue's and the design's part of the store's configuration, and attributes that extensions add.
 */
import { readFileSync } from 'node:fs'
import { type DocumentNode, Kind, parse, print, validate, visit } from 'graphql'
import t, { type Test } from 'tap'
import { loadSupergraph } from '../../gateway/planning/supergraph.ts'
import { createMailTokens, type MailPurpose } from '../../schema/mail-tokens.ts'
import { type Send, startGraph, temporaryFolder } from '../support/graph.ts'
import { KEYS } from '../support/keys.ts'
import { DROPINS, DROPINS_CONFIRMATION } from './dropins.ts'
import { CONFIRMATION, GRAPHCOMMERCE } from './graphcommerce.ts'
import { newcomer, type Operation, type Session } from './session.ts'
import { VENIA } from './venia.ts'
import { VUE_STOREFRONT } from './vue-storefront.ts'

const { schema } = loadSupergraph(readFileSync(new URL('../../schema/supergraph.graphql', import.meta.url), 'utf8'))

/** Apollo Client asks for the type's name in each selection but the operation's own. */
function withTypenames(document: DocumentNode): DocumentNode {
  return visit(document, {
    SelectionSet(node, _key, parent) {
      if ((parent as { kind?: string })?.kind === Kind.OPERATION_DEFINITION) return undefined
      const name = { kind: Kind.NAME, value: '__typename' } as const
      return { ...node, selections: [...node.selections, { kind: Kind.FIELD, name } as const] }
    },
  })
}

/** Sends the operations in their order, each as Apollo Client does with the type names, a query also as it stands. */
async function runs(t: Test, send: Send, session: Session, operations: Record<string, Operation>) {
  for (const [name, { document: source, variables, guest, answers, keeps }] of Object.entries(operations)) {
    await t.test(name, async (t) => {
      const document = parse(source)
      t.strictSame(validate(schema, document), [], 'is valid')
      const given = { variables: await variables?.(session), token: guest ? undefined : session.token }
      const options = { token: given.token, ...(given.variables && { variables: given.variables }) }
      const { errors, data } = await send(print(withTypenames(document)), options)
      t.equal(errors, undefined, 'executes without an error')
      if (errors) return
      t.match(data, answers(session), 'answers what was sent')
      if (/^\s*query/.test(source)) t.match(await send(source, options), { errors: undefined, data: answers(session) })
      keeps?.(session, data)
    })
  }
}

/** Venia's own client: queries go by GET, and each request names the store view. The page is of the gateway's origin. */
function veniaClient(url: string, send: Send): Send {
  const headers = { store: 'default', 'sec-fetch-site': 'same-origin', 'user-agent': 'Mozilla/5.0' }
  return async (query, { variables, token } = {}) => {
    if (!/^\s*query/.test(query)) return send(query, { ...(variables && { variables }), token, headers })
    const parameters = new URLSearchParams({ query, variables: JSON.stringify(variables ?? {}) })
    const response = await fetch(`${url}/graphql?${parameters}`, {
      headers: { ...headers, ...(token && { authorization: `Bearer ${token}` }) },
    })
    return { status: response.status, ...((await response.json()) as { data: unknown; errors?: unknown[] }) }
  }
}

/** A browser in front of the graph, and what is sent in it. */
async function openStore(t: Test, options: Parameters<typeof startGraph>[1] = {}) {
  const folder = await temporaryFolder(t)
  const { url, send, eventStore } = await startGraph(t, { folder, ...options })
  const tokens = createMailTokens(KEYS.EMAIL_HASH_KEY)
  const linkToken = async () => {
    let token = ''
    for await (const { type, id } of eventStore.readAll()) {
      const purpose = PURPOSES[type]
      if (purpose) token = tokens.of(purpose, id)
    }
    return token
  }
  const browse = (): Session => newcomer({ email: '', password: '', addresses: [], linkToken })
  return { url, send, browse }
}

/** What the links are for whose mails these events cause. */
const PURPOSES: Record<string, MailPurpose | undefined> = {
  PasswordResetRequested: 'reset-password',
  EmailConfirmationRequested: 'confirm-account',
}

const { url, send, browse } = await openStore(t)

t.test('Venia', (t) => runs(t, veniaClient(url, send), browse(), VENIA))

t.test('GraphCommerce', (t) => runs(t, send, browse(), GRAPHCOMMERCE))

t.test('GraphCommerce where accounts have to be confirmed', async (t) => {
  const { send, browse } = await openStore(t, { store: { account: { confirmationRequired: true } } })
  await runs(t, send, browse(), CONFIRMATION)
})

t.test('Vue Storefront', (t) => runs(t, send, browse(), VUE_STOREFRONT))

t.test('Adobe’s storefront packages', (t) => runs(t, send, browse(), DROPINS))

t.test('Adobe’s storefront packages where accounts have to be confirmed', async (t) => {
  const { send, browse } = await openStore(t, { store: { account: { confirmationRequired: true } } })
  await runs(t, send, browse(), DROPINS_CONFIRMATION)
})
