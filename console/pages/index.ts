/** The pages, in the order of the navigation. */
import type { ConsoleApp } from '../routes.ts'
import { customer } from './customer/customer.ts'
import { find } from './find/find.ts'
import { home } from './home/home.ts'
import { keys } from './keys/keys.ts'
import { looks } from './keys/looks.ts'
import { settings } from './keys/settings.ts'
import { operations } from './operations/operations.ts'
import { proof } from './proof/proof.ts'
import { requests } from './requests/requests.ts'

const PAGES: readonly ((app: ConsoleApp) => void)[] = [
  home,
  find,
  customer,
  proof,
  requests,
  operations,
  looks,
  keys,
  settings,
]

export function registerPages(app: ConsoleApp): void {
  for (const register of PAGES) register(app)
}
