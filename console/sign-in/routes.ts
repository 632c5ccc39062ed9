/** The routes of signing in and out, and of reasons. */
import { Refused } from '../errors.ts'
import { html } from '../html.ts'
import { plainPage } from '../layout.ts'
import { ownPath } from '../own-path.ts'
import { mayReveal, ROLES } from '../people.ts'
import { action, type ConsoleApp, checkOrigin, HTML, sendHop, sessionOf } from '../routes.ts'

const config = { access: 'public' } as const

export function serveSignIn(app: ConsoleApp): void {
  const { fastify, signIn, sessions } = app
  fastify.get('/sign-in', { config }, async (request, reply) => {
    const back = backOf(request.url)
    if (await sessionOf(app, request, reply)) return reply.redirect(back, 303)
    return reply.type(HTML).send(plainPage('Sign in', signIn.page(request, back)))
  })
  const { choose, start, callback } = signIn
  if (choose) {
    fastify.post('/sign-in', { config }, async (request, reply) => {
      checkOrigin(app, request)
      const form = request.body instanceof URLSearchParams ? request.body : new URLSearchParams()
      await sessions.begin(reply, choose(request, form))
      return reply.redirect(ownPath(form.get('back')), 303)
    })
  }
  if (start && callback) {
    fastify.get('/sign-in/start', { config }, async (request, reply) =>
      reply.redirect(await start(request, reply, backOf(request.url)), 303),
    )
    fastify.get('/sign-in/callback', { config }, async (request, reply) => {
      const { person, back } = await callback(request, reply)
      if (person.roles.length === 0) {
        throw new Refused(403, 'You are signed in, but have no role here. Ask whoever manages your account for one.')
      }
      await sessions.begin(reply, person)
      return sendHop(reply, back)
    })
  }
  action(app, { path: '/sign-out', roles: ROLES }, (_, { reply, session }) => {
    sessions.end(reply, session)
    return { redirect: '/signed-out' }
  })
  fastify.get('/signed-out', { config }, async (_, reply) =>
    reply.type(HTML).send(plainPage('Signed out', html`<p>You are signed out. <a href="/">Sign in again</a></p>`)),
  )
}

export function serveReasons(app: ConsoleApp): void {
  const { reasons } = app
  const roles = ROLES.filter((role) => mayReveal({ name: '', roles: [role] }))
  action(app, { path: '/reason', roles }, async ({ form }, { reply, session }) => {
    await reasons.give(reply, session, form.get('reason'))
    return { redirect: ownPath(form.get('back')) }
  })
  action(app, { path: '/reason/end', roles }, ({ form }, { reply }) => {
    reasons.end(reply)
    return { redirect: ownPath(form.get('back')) }
  })
}

const backOf = (url: string): string => ownPath(new URL(url, 'http://console').searchParams.get('back'))
