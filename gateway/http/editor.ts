/** The page at `/`: a GraphQL query editor in a single file, so that it works without a network. */
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { type GraphQLSchema, isObjectType } from 'graphql'
import { loadedOnce } from '../../runtime/lazily.ts'

const createAccount = `# Create an account (once). The run button asks which operation to run.
mutation CreateAccount {
  createCustomer(
    input: { firstname: "Veronica", lastname: "Costello", email: "roni_cost@example.com", password: "roni_cost3@example.com" }
  ) {
    customer {
      id
    }
  }
}

`

const signIn = `# Sign in: run this, or use the form above. The page keeps the token and sends it with every request.
mutation SignIn {
  generateCustomerToken(email: "roni_cost@example.com", password: "roni_cost3@example.com") {
    token
  }
}

query Me {
  customer {
    id
    firstname
    lastname
    email
    addresses {
      street
      city
      postcode
    }
  }
}
`

const ordersQuery = `
# Through three subgraphs: customer -> orders -> products.
query MyOrders {
  customer {
    email
    orders {
      number
      order_date
      items {
        quantity
        product {
          name
          price {
            value
            currency
          }
        }
      }
    }
  }
}
`

/** Allows only the page itself and the gateway's own endpoint; anything else is blocked. */
const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'unsafe-inline' 'unsafe-eval' blob:",
  'worker-src blob:',
  "style-src 'unsafe-inline'",
  'img-src data: blob:',
  'font-src data:',
  "connect-src 'self'",
  "frame-ancestors 'none'",
].join('; ')

const otherGraph = `# The documentation, left of this, lists what this graph offers.
query Example {
  __typename
}
`

/** What the page shows at first. */
export interface EditorContent {
  readonly query: string
  /** Whether the graph signs customers in. */
  readonly signsIn: boolean
}

/**
 * The content for a graph: examples that run on it.
 * @param query in place of the examples
 */
export function editorContent(schema: GraphQLSchema, query?: string): EditorContent {
  const signsIn = schema.getMutationType()?.getFields().generateCustomerToken !== undefined
  if (!signsIn) return { query: query ?? otherGraph, signsIn }
  const customer = schema.getType('Customer')
  // With the sample subgraphs there is the sample customer.
  const samples = isObjectType(customer) && 'orders' in customer.getFields()
  return { query: query ?? (samples ? signIn + ordersQuery : createAccount + signIn), signsIn }
}

/** Whether a browser requests a page, and not one of its scripts data. */
export const wantsPage = ({ headers }: FastifyRequest): boolean => headers.accept?.includes('text/html') ?? false

/**
 * Serves the editor for GET / to browsers.
 * @param content called for each page, because the graph may change
 * @returns a function that serves the page elsewhere
 */
export function serveEditor(
  app: FastifyInstance,
  content: () => EditorContent,
): (request: FastifyRequest, reply: FastifyReply) => Promise<FastifyReply> {
  let rendered: (EditorContent & { readonly page: () => ReturnType<typeof render> }) | undefined

  async function sendPage(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const { query, signsIn } = content()
    if (rendered?.query !== query || rendered.signsIn !== signsIn) {
      rendered = { query, signsIn, page: loadedOnce(() => render({ query, signsIn })) }
    }
    const page = await rendered.page()
    if (page === undefined) return reply.code(404).send({ errors: [{ message: NOT_INSTALLED }] })
    const { html, gzipped } = page
    const compressed = /\bgzip\b/.test(request.headers['accept-encoding'] ?? '')
    if (compressed) reply.header('content-encoding', 'gzip')
    return reply
      .type('text/html; charset=utf-8')
      .header('vary', 'accept, accept-encoding')
      .header('cache-control', 'no-cache')
      .header('content-security-policy', contentSecurityPolicy)
      .send(compressed ? gzipped : html)
  }
  app.get('/', (request, reply) =>
    wantsPage(request)
      ? sendPage(request, reply)
      : reply.code(404).send({ errors: [{ message: 'The GraphQL endpoint is /graphql.' }] }),
  )
  return sendPage
}

/** Where GraphiQL is mounted; the form is above it, and its script runs first. */
const ROOT = '<div id="root"></div>'

const signInForm = () => readFileSync(new URL('./editor-sign-in.html', import.meta.url), 'utf8')

const NOT_INSTALLED =
  'The query editor is not installed: production installs go without its 18 MB. Install with `npm ci`, without --omit=dev. The GraphQL endpoint is /graphql.'

/** @returns undefined if the editor's package is not installed */
async function render({
  query,
  signsIn,
}: EditorContent): Promise<{ readonly html: Buffer; readonly gzipped: Buffer } | undefined> {
  // 9 MB of text, so it is loaded when someone opens the page, and not at start.
  const editor = await import('@graphql-yoga/render-graphiql').catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ERR_MODULE_NOT_FOUND') throw error
  })
  if (editor === undefined) return undefined
  // Headers may hold a token: they are forgotten with the page.
  const options = { title: 'Customer graph', endpoint: '/graphql', defaultQuery: query, shouldPersistHeaders: false }
  const page = editor
    .renderGraphiQL(options as Parameters<typeof editor.renderGraphiQL>[0])
    .replace(ROOT, () => `${signsIn ? signInForm() : signInForm().replace('<form ', '<form data-guests ')}\n${ROOT}`)
  const html = Buffer.from(page)
  return { html, gzipped: await promisify(gzip)(html) }
}
