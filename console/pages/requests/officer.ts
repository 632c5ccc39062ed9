/** Who acts on a request, from a form of the console. */
import { z } from 'zod'
import type { Officer } from '../../../audit/requests/register.ts'
import { uuidOf } from '../../../eventstore/derived-uuid.ts'
import { type Html, html } from '../../html.ts'
import type { View } from '../../routes.ts'

/** The longest note. */
export const MOST_NOTE = 2_000

/** Names the command, so that a form that is sent twice is carried out once. */
export const commandField = (): Html => html`<input type="hidden" name="command" value="${crypto.randomUUID()}">`

export function officerOf({ actor, person, now, form, options }: View): Officer {
  const { data = crypto.randomUUID() } = z.uuid().safeParse(form.get('command'))
  // Of this person: nobody can repeat somebody else's.
  return {
    actor,
    now,
    commandId: uuidOf(`console:${actor}:${data}`),
    rules: options.store.audit,
    emailHashKey: options.emailHashKey,
    email: person.email,
  }
}
