/**
 * The clients that storefronts are built with, as they come from npm, over HTTP: Apollo Client, urql, Relay, and the types that
 * graphql-codegen makes of the gateway's schema. Each signs in, reads, writes, meets errors, and sends persisted queries in its
 * own way.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { ApolloClient, ApolloLink, CombinedGraphQLErrors, gql, HttpLink, InMemoryCache } from '@apollo/client'
import { PersistedQueryLink } from '@apollo/client/link/persisted-queries'
import { preset } from '@graphql-codegen/client-preset'
import { codegen } from '@graphql-codegen/core'
import { cacheExchange, fetchExchange, Client as UrqlClient } from '@urql/core'
import { persistedExchange } from '@urql/exchange-persisted'
import { buildClientSchema, getIntrospectionQuery, type IntrospectionQuery, parse, print, printSchema } from 'graphql'
import relay, { type ConcreteRequest, type FetchFunction, type MutationParameters } from 'relay-runtime'
import t, { type Test } from 'tap'
import { PASSWORD, signUp, startGraph, TEXAN } from '../support/graph.ts'
import type { operationsAccountQuery } from './relay/__generated__/operationsAccountQuery.graphql.ts'
import AccountQuery from './relay/__generated__/operationsAccountQuery.graphql.ts'
import AddAddressMutation, {
  type operationsAddAddressMutation,
} from './relay/__generated__/operationsAddAddressMutation.graphql.ts'
import AddressesFragment from './relay/__generated__/operationsAddresses_customer.graphql.ts'
import RenameMutation, {
  type operationsRenameMutation,
} from './relay/__generated__/operationsRenameMutation.graphql.ts'
import SignInMutation, {
  type operationsSignInMutation,
} from './relay/__generated__/operationsSignInMutation.graphql.ts'

const graph = await startGraph(t)
const jwksUrl = `${graph.subgraphUrl}/.well-known/jwks.json`
const tokens = { tokenKeys: { jwksUrl }, tokenStatus: { url: `${graph.subgraphUrl}/introspect`, secret: undefined } }
const endpoint = `${await graph.startGateway(tokens)}/graphql`

/** A request as it went out, and the status that it got. */
interface Exchange {
  readonly method: string
  /** The body's members, or the parameters of a GET. */
  readonly sent: Record<string, unknown>
  readonly status: number
}

/** A fetch that notes what the client sends with it, as from a page of another site: a GET needs a header that such pages ask for. */
function noting(): { readonly fetch: typeof fetch; readonly exchanges: Exchange[] } {
  const exchanges: Exchange[] = []
  return {
    exchanges,
    fetch: async (input, init) => {
      const headers = new Headers(init?.headers)
      headers.set('sec-fetch-site', 'cross-site')
      const response = await fetch(input, { ...init, headers })
      const { searchParams } = new URL(String(input))
      const sent = init?.method === 'GET' ? Object.fromEntries(searchParams) : JSON.parse(String(init?.body))
      exchanges.push({ method: init?.method ?? 'GET', sent, status: response.status })
      return response
    },
  }
}

/** What of a request names or holds its document: `hash`, `document`, or both; and its method. */
const forms = (exchanges: readonly Exchange[]) =>
  exchanges.map(({ method, sent }) =>
    [method, sent.extensions && 'hash', sent.query && 'document'].filter(Boolean).join(' '),
  )

/** An answer's data. */
// biome-ignore lint/suspicious/noExplicitAny: it has the shape that the operation asks for
type Data = any

const SIGN_IN = gql`
  mutation SignIn($email: String!, $password: String!) {
    generateCustomerToken(email: $email, password: $password) {
      token
    }
  }
`
const ACCOUNT = gql`
  query Account {
    customer {
      id
      firstname
      orders {
        items {
          product {
            name
          }
        }
      }
    }
  }
`
const RENAME = gql`
  mutation Rename($input: CustomerUpdateInput!) {
    updateCustomerV2(input: $input) {
      customer {
        id
        firstname
      }
    }
  }
`
/** Half of it is for guests, too. */
const HALF_PUBLIC = gql`
  query HalfPublic {
    products {
      sku
    }
    customer {
      id
      firstname
    }
  }
`
const NOT_SIGNED_IN = {
  message: "The current customer isn't authorized.",
  extensions: { category: 'graphql-authorization' },
}
const REVOKED = { message: 'User token has been revoked', extensions: { category: 'graphql-authentication' } }

t.test('Apollo Client', async (t) => {
  const { id, email } = await signUp(graph.send)
  let token: string | undefined
  const { fetch, exchanges } = noting()
  const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')
  const authorization = new ApolloLink((operation, forward) => {
    if (token) operation.setContext({ headers: { authorization: `Bearer ${token}` } })
    return forward(operation)
  })
  const persisted = (useGETForHashedQueries: boolean) => new PersistedQueryLink({ sha256, useGETForHashedQueries })
  const start = (useGet: boolean) =>
    new ApolloClient({
      cache: new InMemoryCache(),
      link: ApolloLink.from([authorization, persisted(useGet), new HttpLink({ uri: endpoint, fetch })]),
    })
  const client = start(false)

  const guest = (await t.rejects(client.query({ query: ACCOUNT }))) as unknown as Error
  t.ok(CombinedGraphQLErrors.is(guest))
  t.match((guest as CombinedGraphQLErrors).errors, [NOT_SIGNED_IN])
  const half = await client.query<Data>({ query: HALF_PUBLIC, errorPolicy: 'all' })
  t.match(half.data, { products: [{ __typename: 'Product', sku: String }], customer: null })
  t.match((half.error as CombinedGraphQLErrors).errors, [NOT_SIGNED_IN])

  const signedIn = await client.mutate<Data>({ mutation: SIGN_IN, variables: { email, password: PASSWORD } })
  token = signedIn.data.generateCustomerToken.token
  await client.clearStore()
  exchanges.length = 0
  t.match((await client.query<Data>({ query: ACCOUNT })).data?.customer, { id, firstname: 'Ann', orders: Array })
  t.same(forms(exchanges), ['POST hash'], 'the guest has registered it')
  await client.mutate({ mutation: RENAME, variables: { input: { firstname: 'Vera' } } })
  t.match(
    client.readQuery<Data>({ query: ACCOUNT })?.customer,
    { id, firstname: 'Vera' },
    'its cache follows the mutation',
  )

  const other = start(true)
  exchanges.length = 0
  const document = gql`query { customer { id lastname } }`
  t.match((await other.query<Data>({ query: document })).data?.customer, { id, lastname: 'Lee' })
  t.match((await other.query<Data>({ query: document, fetchPolicy: 'network-only' })).data?.customer, { id })
  t.same(forms(exchanges), ['GET hash', 'POST hash document', 'GET hash'])

  await client.mutate({ mutation: gql`mutation { revokeCustomerToken { result } }` })
  const refused = await client.query({ query: ACCOUNT, fetchPolicy: 'network-only' }).catch((error) => error)
  t.match(refused.errors, [REVOKED])
  t.equal(exchanges.at(-1)?.status, 401)
})

t.test('urql', async (t) => {
  const { id, email } = await signUp(graph.send)
  let token: string | undefined
  const start = (preferGetForPersistedQueries: boolean) => {
    const { fetch, exchanges } = noting()
    const client = new UrqlClient({
      url: endpoint,
      fetch,
      preferGetMethod: false,
      exchanges: [
        cacheExchange,
        persistedExchange({ preferGetForPersistedQueries, enableForMutation: true }),
        fetchExchange,
      ],
      fetchOptions: () => (token ? { headers: { authorization: `Bearer ${token}` } } : {}),
    })
    return { client, exchanges }
  }
  const { client, exchanges } = start(false)
  const guest = await client.query(
    `# urql's own, so that nobody has registered it\nquery Urql { products { sku } customer { id } }`,
    {},
  )
  t.match(guest.data, { products: [{ __typename: 'Product', sku: String }], customer: null })
  t.match(guest.error?.graphQLErrors, [NOT_SIGNED_IN])
  t.same(forms(exchanges), ['POST hash', 'POST hash document'])

  const wrong = await client.mutation(SIGN_IN, { email, password: 'wrong' })
  t.match(wrong.error?.graphQLErrors, [{ extensions: { category: 'graphql-authentication' } }])
  token = (await client.mutation(SIGN_IN, { email, password: PASSWORD })).data.generateCustomerToken.token
  t.match((await client.query(ACCOUNT, {})).data, { customer: { id, firstname: 'Ann', orders: Array } })
  await client.mutation(RENAME, { input: { firstname: 'Vera' } })
  t.match((await client.query(ACCOUNT, {})).data, { customer: { id, firstname: 'Vera' } }, 'its cache follows')

  const other = start(true)
  t.match((await other.client.query('{ customer { id email } }', {})).data, { customer: { id, email } })
  await other.client.query('{ customer { id email } }', {}, { requestPolicy: 'network-only' })
  t.same(forms(other.exchanges), ['GET hash', 'GET hash document', 'GET hash'])

  await client.mutation('mutation { revokeCustomerToken { result } }', {})
  const refused = await client.query(ACCOUNT, {}, { requestPolicy: 'network-only' })
  t.match(refused.error?.graphQLErrors, [REVOKED])
  t.equal(refused.error?.response?.status, 401)
})

t.test('GETs of a guest, from a page of another site', async (t) => {
  const query = '{ products { sku } }'
  const { fetch } = noting()
  const link = new HttpLink({ uri: endpoint, fetch, useGETForQueries: true })
  const apollo = new ApolloClient({ cache: new InMemoryCache(), link })
  t.match(
    (await apollo.query<Data>({ query: gql(query) })).data,
    { products: [{ sku: String }] },
    'names a content type',
  )
  const urql = (headers: Record<string, string>) =>
    new UrqlClient({ url: endpoint, fetch, fetchOptions: { headers }, exchanges: [fetchExchange] }).query(query, {})
  t.match((await urql({})).error?.graphQLErrors, [{ extensions: { code: 'CSRF_PREVENTED' } }])
  t.match((await urql({ 'apollo-require-preflight': 'true' })).data, { products: [{ sku: String }] })
})

/** What graphql-codegen's CLI writes with `preset: 'client'` and `persistedDocuments`, from the gateway's own schema. */
async function generate(t: Test, documents: Record<string, string>): Promise<string> {
  const asked = await fetch(endpoint, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query: getIntrospectionQuery() }),
  })
  const schemaAst = buildClientSchema(((await asked.json()) as { data: IntrospectionQuery }).data)
  // Inside the project, so that the generated files find their packages.
  const folder = t.testdir({})
  const outputs = await preset.buildGeneratesSection({
    baseOutputDir: `${folder}/`,
    schema: parse(printSchema(schemaAst)),
    schemaAst,
    documents: Object.entries(documents).map(([location, rawSDL]) => ({ location, rawSDL, document: parse(rawSDL) })),
    config: { useTypeImports: true, enumType: 'string-literal' },
    presetConfig: { persistedDocuments: { hashAlgorithm: 'sha256' }, fragmentMasking: false },
    plugins: [],
    pluginMap: {},
    importExtension: '.ts',
  } as unknown as Parameters<typeof preset.buildGeneratesSection>[0])
  for (const output of outputs) {
    mkdirSync(dirname(output.filename), { recursive: true })
    writeFileSync(output.filename, await codegen(output))
  }
  return folder
}

const CODEGEN_QUERY = `query Me { customer { id firstname addresses { city country_code } } }`

const USES = `
import type { ResultOf, VariablesOf } from '@graphql-typed-document-node/core'
import { MeDocument, RenameDocument } from './graphql.ts'

export const name = (data: ResultOf<typeof MeDocument>): string => data.customer?.firstname ?? ''
export const input: VariablesOf<typeof RenameDocument> = { input: { firstname: 'Vera' } }
// @ts-expect-error: the query does not select it
export const email = (data: ResultOf<typeof MeDocument>) => data.customer?.email
// @ts-expect-error: a customer's name is a text
export const wrong: VariablesOf<typeof RenameDocument> = { input: { firstname: 1 } }
`

t.test('graphql-codegen, and a safelist of what it and the Relay compiler have written', async (t) => {
  const folder = await generate(t, { 'me.graphql': CODEGEN_QUERY, 'rename.graphql': print(RENAME) })
  writeFileSync(join(folder, 'uses.ts'), USES)
  const options = [
    '--ignoreConfig',
    '--noEmit',
    '--strict',
    '--skipLibCheck',
    '--allowImportingTsExtensions',
    '--module',
    'nodenext',
  ]
  const checked = spawnSync(
    process.execPath,
    ['node_modules/typescript/bin/tsc', ...options, join(folder, 'uses.ts')],
    {
      encoding: 'utf8',
    },
  )
  t.equal(checked.status, 0, checked.stdout)

  const read = (path: string) => JSON.parse(readFileSync(path, 'utf8')) as Record<string, string>
  const ofRelay = read(join(import.meta.dirname, 'relay/__generated__/persisted.json'))
  const manifest = JSON.stringify({ ...read(join(folder, 'persisted-documents.json')), ...ofRelay })
  const safelist = { mode: 'safelist', manifest } as const
  const url = `${await graph.startGateway({ ...tokens, persistedQueries: safelist, introspection: false })}/graphql`

  await t.test('the generated documents run by their hashes', async (t) => {
    const { id, token } = await signUp(graph.send)
    const { MeDocument } = await import(pathToFileURL(join(folder, 'graphql.ts')).href)
    const { fetch, exchanges } = noting()
    const generateHash = async (_: string, document: object) =>
      (document as { __meta__?: { hash?: string } }).__meta__?.hash
    const client = new UrqlClient({
      url,
      fetch,
      preferGetMethod: false,
      exchanges: [
        persistedExchange({
          preferGetForPersistedQueries: false,
          enforcePersistedQueries: true,
          enableForMutation: true,
          generateHash,
        }),
        fetchExchange,
      ],
      fetchOptions: { headers: { authorization: `Bearer ${token}` } },
    })
    t.match(await client.query(MeDocument, {}), { error: undefined, data: { customer: { id, firstname: 'Ann' } } })
    t.same(forms(exchanges), ['POST hash'])
    const other = await client.query('{ customer { email } }', {}).toPromise()
    t.match(other.error?.graphQLErrors, [{ extensions: { code: 'QUERY_NOT_IN_SAFELIST' } }])
  })

  await t.test('Relay', (t) => relayRuns(t, url))
})

/** What Relay's guide has: the id alone, as `doc_id`. @see https://relay.dev/docs/guides/persisted-queries/ */
function relayEnvironment(
  url: string,
  { fetch, token }: { fetch: typeof globalThis.fetch; token: () => string | undefined },
) {
  const fetchFunction: FetchFunction = async (operation, variables) => {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(token() && { authorization: `Bearer ${token()}` }) },
      body: JSON.stringify({ doc_id: operation.id, variables }),
    })
    return response.json()
  }
  return new relay.Environment({
    network: relay.Network.create(fetchFunction),
    // Magento's `id` of a customer or an address is a number; `uid` is the text that Relay wants.
    getDataID: ({ uid }: { uid?: string }) => uid,
    store: new relay.Store(new relay.RecordSource()),
  })
}

async function relayRuns(t: Test, url: string) {
  const { email } = await signUp(graph.send)
  let token: string | undefined
  const { fetch, exchanges } = noting()
  const environment = relayEnvironment(url, { fetch, token: () => token })
  const account = () => relay.fetchQuery<operationsAccountQuery>(environment, AccountQuery, {}).toPromise()
  const commit = <Mutation extends MutationParameters>(mutation: ConcreteRequest, variables: Mutation['variables']) =>
    new Promise<Mutation['response']>((resolve, reject) =>
      relay.commitMutation<Mutation>(environment, {
        mutation,
        variables,
        onCompleted: (response, errors) => (errors ? reject(errors) : resolve(response)),
        onError: reject,
      }),
    )

  t.same((await account())?.customer, null, 'Relay takes a null for an answer, whatever the errors')
  const signedIn = await commit<operationsSignInMutation>(SignInMutation, { email, password: PASSWORD })
  token = signedIn.generateCustomerToken?.token ?? undefined
  const { country_id: _, ...address } = TEXAN
  await commit<operationsAddAddressMutation>(AddAddressMutation, { input: { ...address, country_code: 'US' } })
  const answer = await account()
  t.match(answer?.customer, { firstname: 'Ann', orders: Array })
  const addresses = relay.getSingularSelector(AddressesFragment, answer?.customer)
  t.match(
    addresses && environment.lookup(addresses).data,
    { addresses: [{ id: Number, city: TEXAN.city }] },
    "a fragment's own data",
  )
  await commit<operationsRenameMutation>(RenameMutation, { input: { firstname: 'Vera' } })
  t.match((await account())?.customer, { firstname: 'Vera' })
  t.ok(exchanges.every(({ sent }) => Object.keys(sent).join() === 'doc_id,variables'))

  await graph.send('mutation { revokeCustomerToken { result } }', { token })
  const refused = await account().catch((error) => error)
  t.match(refused.source.errors, [REVOKED])
  t.equal(exchanges.at(-1)?.status, 401)
}
