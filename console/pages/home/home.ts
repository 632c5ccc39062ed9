/** The first page: where to begin, and what there is for the roles of whoever looks. */
import { empty } from '../../components.ts'
import { html } from '../../html.ts'
import { hasRole, ROLES } from '../../people.ts'
import { type ConsoleApp, page } from '../../routes.ts'
import { FIND_ROLES } from '../find/roles.ts'

export function home(app: ConsoleApp): void {
  page(app, { path: '/', title: 'Home', roles: ROLES }, ({ person, formToken }) => {
    const entries = app.nav.filter(({ roles }) => hasRole(person, roles))
    if (entries.length === 0) {
      return empty('There is nothing for you here yet.', 'Ask whoever manages your account for a role.')
    }
    return html`${
      hasRole(person, FIND_ROLES) &&
      html`<form class="panel quick" method="post" action="/customers" role="search">${formToken}
<label for="h-customer">Open a customer <small>by number or e-mail address</small></label>
<span class="field"><input id="h-customer" name="customer" required maxlength="200" autocomplete="off" spellcheck="false"><button class="primary">Open</button></span></form>`
    }
<ul class="cards">${entries.map(
      ({ path, label, about }) => html`<li><a href="${path}"><strong>${label}</strong><span>${about}</span></a></li>`,
    )}</ul>`
  })
}
