/**
 * Sign-in in development: a choice of sample people, for browsers of this machine alone. Two are privacy officers, because one
 * approves what the other prepared.
 */
import { isIP } from 'node:net'
import type { FastifyRequest } from 'fastify'
import { Refused } from '../errors.ts'
import { html } from '../html.ts'
import { type Person, ROLE_NAMES } from '../people.ts'
import type { SignIn } from './sign-in.ts'

const PEOPLE: readonly (Person & { readonly about: string })[] = [
  { name: 'anna.auditor', roles: ['auditor'], about: 'finds who changed what, and checks proofs' },
  { name: 'paul.privacy', roles: ['privacy-officer'], about: 'handles the requests of data subjects' },
  { name: 'petra.privacy', roles: ['privacy-officer'], about: 'is the second person who approves them' },
  { name: 'olga.operator', roles: ['operator'], about: 'keeps the service running' },
]

/** @throws Refused for the sample people in production */
export function samplePeople(isProduction: boolean): SignIn {
  if (isProduction) throw new Refused(500, 'There are no sample people in production.')
  return {
    page(request, back) {
      if (!isLocal(request)) {
        return html`<p>The sample people are for browsers of the machine that the console runs on. Elsewhere, set up a
          sign-in: see <code>docs/console.md</code>.</p>`
      }
      return html`<p>This is development: choose who you are. In production people sign in with your OpenID provider.</p>
        <form method="post" action="/sign-in" class="people">
          <input type="hidden" name="back" value="${back}">
          ${PEOPLE.map(
            ({ name, roles, about }) => html`<button name="person" value="${name}">
              <strong>${roles.map((role) => ROLE_NAMES[role]).join(', ')}</strong> <span>${name} ${about}</span></button>`,
          )}
        </form>`
    },
    choose(request, form) {
      if (!isLocal(request)) throw new Refused(403, 'The sample people are for browsers of this machine.')
      const person = PEOPLE.find(({ name }) => name === form.get('person'))
      if (!person) throw new Refused(400, `There is no such sample person; there are ${PEOPLE.length}.`)
      return { name: person.name, roles: person.roles }
    },
  }
}

const FORWARDED = ['forwarded', 'x-forwarded-for', 'x-forwarded-host', 'x-real-ip', 'via']

/** Whether the browser is on this machine, asks it by its own name, and no proxy is in between. */
function isLocal({ raw, headers }: FastifyRequest): boolean {
  if (FORWARDED.some((name) => headers[name] !== undefined)) return false
  return isLoopback(raw.socket.remoteAddress ?? '') && isLoopbackHost(headers.host ?? '')
}

function isLoopback(address: string): boolean {
  const plain = address.replace(/^::ffff:/i, '')
  return plain === '::1' || (isIP(plain) === 4 && plain.startsWith('127.'))
}

/** A page of another site could point a name of its own at this machine (DNS rebinding). */
function isLoopbackHost(host: string): boolean {
  if (!URL.canParse(`http://${host}`)) return false
  const { hostname } = new URL(`http://${host}`)
  return hostname === 'localhost' || hostname.endsWith('.localhost') || isLoopback(hostname.replace(/^\[|\]$/g, ''))
}
