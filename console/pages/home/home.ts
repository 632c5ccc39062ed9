/** The first page: what there is for the roles of whoever looks. */
import { empty } from '../../components.ts'
import { html } from '../../html.ts'
import { hasRole, ROLES } from '../../people.ts'
import { type ConsoleApp, page } from '../../routes.ts'

export function home(app: ConsoleApp): void {
  page(app, { path: '/', title: 'Home', roles: ROLES }, ({ person }) => {
    const entries = app.nav.filter(({ roles }) => hasRole(person, roles))
    if (entries.length === 0)
      return empty('There is nothing for you here yet.', 'Ask whoever manages your account for a role.')
    return html`<ul class="cards">${entries.map(
      ({ path, label, about }) => html`<li><a href="${path}"><strong>${label}</strong><span>${about}</span></a></li>`,
    )}</ul>`
  })
}
