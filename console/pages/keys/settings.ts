/** The settings in force, without secrets, and the versions of what runs. */
import { DOCUMENT_VERSION } from '../../../projections/customer.ts'
import { isEmbedded, SHARED_VARIABLES } from '../../../runtime/configuration.ts'
import { type ShownSetting, shownSetting, withDerived } from '../../../runtime/shown-settings.ts'
import { VERSION } from '../../../runtime/version.ts'
import { SCHEMA_VERSION } from '../../../schema/events.ts'
import { badge, facts, table } from '../../components.ts'
import { CONSOLE_VARIABLES } from '../../configuration.ts'
import { html } from '../../html.ts'
import { type ConsoleApp, page } from '../../routes.ts'
import { KEYS_ROLES } from './roles.ts'

export function settings(app: ConsoleApp): void {
  page(
    app,
    {
      path: '/settings',
      title: 'Settings and versions',
      roles: KEYS_ROLES,
      nav: { label: 'Settings', about: 'Every setting of this process, where it comes from, and which versions run.' },
    },
    ({ options }) => {
      const environment = options.environment ?? process.env
      const rows = Object.entries({ ...SHARED_VARIABLES, ...CONSOLE_VARIABLES }).map(([name, variable]) =>
        withDerived(shownSetting(name, variable, environment), options.configuration),
      )
      const [set, rest] = [rows.filter(isSet), rows.filter((row) => !isSet(row))]
      return {
        body: html`<link rel="stylesheet" href="/assets/proof.css">
<h2>Versions</h2>
${facts([
  ['Service', VERSION],
  ['Node', process.versions.node],
  ['Events', String(SCHEMA_VERSION)],
  ['Documents', String(DOCUMENT_VERSION)],
  ['Mode', options.configuration.NODE_ENV],
  ['Event store', isEmbedded(options.configuration) ? 'SQLite' : 'EventStoreDB or KurrentDB'],
  ['Read model', options.configuration.READMODEL_URL.startsWith('sqlite:') ? 'SQLite' : 'Redis'],
])}
<h2>Settings that are set</h2>
${table('Settings that are set', COLUMNS, set.map(cells))}
<details><summary>Defaults of the others</summary>${table('Settings with their defaults', COLUMNS, rest.map(cells))}</details>
<p class="soft">These are the settings of the process that serves the console. Another process may have others: run the command in its place.</p>`,
        command: 'customers config',
      }
    },
  )
}

const COLUMNS = [{ label: 'Setting' }, { label: 'Value' }, { label: 'From' }]

const isSet = ({ source, problem }: ShownSetting) => problem !== undefined || !/^default(:|$)/.test(source)

const cells = ({ name, value, source, problem }: ShownSetting) => [
  html`<code>${name}</code>`,
  html`${value ?? html`<span class="soft">not set</span>`}${problem !== undefined && html` ${badge('wrong', 'bad')} ${problem}`}`,
  source,
]
