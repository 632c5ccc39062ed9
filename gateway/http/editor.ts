/** The page at `/`: a GraphQL query editor, whole in one file, so that it works without a network. */
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import type { FastifyInstance } from 'fastify'

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

/** Nothing but the page itself and the gateway's own endpoint: a page that asked for more would be stopped here. */
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

/**
 * What the editor shows at first.
 * @param samples whether the sample subgraphs are on, and with them the sample customer
 */
export function exampleQueries(samples: boolean): string {
  return samples ? signIn + ordersQuery : createAccount + signIn
}

/**
 * Serves the editor for GET / to browsers.
 * @param query what it shows at first; asked anew for each page, since the graph may change
 */
export function serveEditor(app: FastifyInstance, query: () => string): void {
  let rendered: { query: string; page: ReturnType<typeof render> } | undefined

  app.get('/', async (request, reply) => {
    if (!request.headers.accept?.includes('text/html')) {
      return reply.code(404).send({ errors: [{ message: 'The GraphQL endpoint is /graphql.' }] })
    }
    const shown = query()
    if (rendered?.query !== shown) rendered = { query: shown, page: render(shown) }
    const { html, gzipped } = await rendered.page
    const compressed = /\bgzip\b/.test(request.headers['accept-encoding'] ?? '')
    if (compressed) reply.header('content-encoding', 'gzip')
    return reply
      .type('text/html; charset=utf-8')
      .header('vary', 'accept, accept-encoding')
      .header('cache-control', 'no-cache')
      .header('content-security-policy', contentSecurityPolicy)
      .send(compressed ? gzipped : html)
  })
}

/** Where GraphiQL puts itself; the form stands above it, and its script runs first. */
const ROOT = '<div id="root"></div>'

const signInForm = () => readFileSync(new URL('./editor-sign-in.html', import.meta.url), 'utf8')

async function render(query: string): Promise<{ html: Buffer; gzipped: Buffer }> {
  // 9 MB of text: loaded when someone opens the page, not when the gateway starts.
  const { renderGraphiQL } = await import('@graphql-yoga/render-graphiql')
  // Headers may hold a token: they are forgotten with the page.
  const options = { title: 'Customer graph', endpoint: '/graphql', defaultQuery: query, shouldPersistHeaders: false }
  const page = renderGraphiQL(options as Parameters<typeof renderGraphiQL>[0]).replace(
    ROOT,
    () => `${signInForm()}\n${ROOT}`,
  )
  const html = Buffer.from(page)
  return { html, gzipped: await promisify(gzip)(html) }
}
