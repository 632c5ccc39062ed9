/** The tokens of services: issued by whom, until when, and ended one by one. */
import { endServiceToken, isActive, type ServiceToken, serviceTokens } from '../../../audit/service-tokens.ts'
import { hasWords } from '../../../runtime/reason-text.ts'
import { badge, commandBox, count, empty, table, time } from '../../components.ts'
import { Refused } from '../../errors.ts'
import { type Html, html } from '../../html.ts'
import { action, type ConsoleApp, type View } from '../../routes.ts'
import { KEYS_ROLES } from './roles.ts'

const LONGEST_REASON = 200
/** Tokens that are not valid any more, in the list. */
const MOST_PAST = 100

export function registerTokens(app: ConsoleApp): void {
  action(app, { path: '/keys/tokens/end', roles: KEYS_ROLES }, async ({ options, form, actor, now }) => {
    const reason = (form.get('reason') ?? '').trim()
    if (!hasWords(reason) || reason.length > LONGEST_REASON) {
      throw new Refused(400, `Write why the token is ended, in up to ${LONGEST_REASON} characters; it is recorded.`)
    }
    const ending = { jti: form.get('id') ?? '', reason, actor, now }
    const { token, wasEnded } = await endServiceToken(options.stored, ending)
    const text = wasEnded
      ? 'The token was ended already.'
      : `The token of service:${token.subject} is ended. It is refused everywhere within a second.`
    return { redirect: '/keys#tokens', notice: { kind: 'done', text } }
  })
}

export async function tokenSection({ options, formToken, now }: View): Promise<Html> {
  const all = await serviceTokens(options.stored)
  const valid = all.filter((token) => isActive(token, now))
  const past = all.filter((token) => !isActive(token, now))
  return html`<section id="tokens" aria-labelledby="tokens-title"><h2 id="tokens-title">Tokens of services</h2>
${
  valid.length === 0
    ? empty('No token of a service is valid.', 'Issue one on the command line, so that it is on no web page.')
    : table(
        'Valid tokens of services',
        [
          { label: 'Service' },
          { label: 'End it' },
          { label: 'May' },
          { label: 'Until' },
          { label: 'Issued' },
          { label: 'By' },
        ],
        valid.map((token) => [
          html`<strong>${token.subject}</strong><br><code>${token.jti}</code>`,
          endForm(token, formToken),
          token.scopes.join(', '),
          time(token.expiresAt),
          time(token.issuedAt),
          token.issuedBy,
        ]),
      )
}
${past.length > 0 && html`<details><summary>${count(past.length)} expired or ended</summary>${pastTable(past.slice(0, MOST_PAST))}</details>`}
${commandBox("customers token --scope customers:audit --subject back-office --hours 8\ncustomers token list --all\ncustomers token end ID --reason 'ticket 7'")}</section>`
}

const endForm = ({ jti, subject }: ServiceToken, formToken: Html): Html =>
  html`<form class="in-row" method="post" action="/keys/tokens/end">${formToken}<input type="hidden" name="id" value="${jti}"><input name="reason" required maxlength="${LONGEST_REASON}" aria-label="Why the token of ${subject} is ended" placeholder="Why" autocomplete="off"><button>End</button></form>`

const pastTable = (past: readonly ServiceToken[]): Html =>
  table(
    'Tokens that are not valid any more',
    [
      { label: 'Service' },
      { label: 'Could' },
      { label: 'Issued' },
      { label: 'By' },
      { label: 'Over' },
      { label: 'Why' },
    ],
    past.map(({ subject, jti, scopes, issuedAt, issuedBy, expiresAt, ended }) => [
      html`<strong>${subject}</strong><br><code>${jti}</code>`,
      scopes.join(', '),
      time(issuedAt),
      issuedBy,
      html`${ended ? badge('ended', 'warning') : badge('expired')} ${time(ended?.at ?? expiresAt)}`,
      ended ? html`${ended.by}: <q>${ended.reason}</q>` : '',
    ]),
  )
