/** What is around every page. */
import { commandBox, time } from './components.ts'
import { type Html, html } from './html.ts'
import { ROLE_NAMES } from './people.ts'
import type { NavigationEntry, View } from './routes.ts'

/** A sentence that is shown once, after an action. */
export interface Notice {
  readonly kind: 'done' | 'failed'
  readonly text: string
}

/** The parts of a page before and after its body. */
export function layout(page: {
  readonly title: string
  readonly path: string
  readonly nav: readonly NavigationEntry[]
  readonly view: View
  /** Whether to offer a form for a reason. */
  readonly isPersonal: boolean
  readonly command: string | undefined
  readonly notice: Notice | undefined
}): { readonly before: Html; readonly after: Html } {
  const { title, path, nav, view, isPersonal, command, notice } = page
  const before = html`${documentHead(title)}
<body>
<a class="skip" href="#main">Skip to the content</a>
<header class="top">
  <a class="brand" href="/">Customer console</a>
  <nav aria-label="Pages"><ul>${nav.map(
    (entry) =>
      html`<li><a href="${entry.path}"${isAt(path, entry.path) && html` aria-current="page"`}>${entry.label}</a></li>`,
  )}</ul></nav>
  <div class="person">
    <span><strong>${view.person.name}</strong> <small>${view.person.roles.map((role) => ROLE_NAMES[role]).join(', ') || 'no role'}</small></span>
    <form method="post" action="/sign-out">${view.formToken}<button class="quiet">Sign out</button></form>
  </div>
</header>
<main id="main" tabindex="-1">
${reasonBanner(view, isPersonal)}
${notice && html`<p class="notice ${notice.kind}" role="status">${notice.text}</p>`}
<h1>${title}</h1>
`
  const after = html`
${command !== undefined && commandBox(command)}
</main>
<footer class="bottom"><p>Times are in UTC<span class="zone-note"></span>.</p></footer>
</body>
</html>
`
  return { before, after }
}

/** A page for those who are not signed in, and for faults outside any page. */
export function plainPage(title: string, body: Html): string {
  return html`${documentHead(title)}
<body class="plain">
<main id="main"><p class="brand">Customer console</p>
<h1>${title}</h1>
${body}
</main>
</body>
</html>
`.text
}

const documentHead = (title: string): Html => html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>${title} · Customer console</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="/assets/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/assets/console.css">
<link rel="stylesheet" href="/assets/parts.css">
<link rel="stylesheet" href="/assets/pages.css">
<link rel="stylesheet" href="/assets/print.css" media="print">
<script type="module" async src="/assets/console.js"></script>
</head>`

/** `/customers/:id` is not at `/`, and `/find/exports` is at `/find`. */
const isAt = (path: string, entry: string): boolean => path === entry || path.startsWith(`${entry}/`)

function reasonBanner({ reason, formToken, url, now }: View, isPersonal: boolean): Html | false {
  if (reason) {
    const left = reason.until.getTime() - now.getTime()
    const minutes = Math.max(1, Math.ceil(left / 60_000))
    return html`<div class="reason given" role="status">
  <p>You see personal data until ${time(reason.until, 'clock')} <span data-left="${left}">(${minutes} min left)</span>,
    because: <q>${reason.text}</q>. Each customer you look at is recorded with it.</p>
  <form method="post" action="/reason/end">${formToken}<input type="hidden" name="back" value="${url}"><button>Mask again</button></form>
</div>`
  }
  if (!isPersonal) return false
  return html`<form class="reason" method="post" action="/reason">${formToken}<input type="hidden" name="back" value="${url}">
  <label for="reason">Personal data is masked. To see it for 15 minutes, write why:</label>
  <span class="field"><input id="reason" name="reason" maxlength="200" required placeholder="such as the number of a ticket" autocomplete="off"><button>Show</button></span>
</form>`
}
