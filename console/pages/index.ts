/** The pages, in the order of the navigation. */
import type { ConsoleApp } from '../routes.ts'
import { customer } from './customer/customer.ts'
import { find } from './find/find.ts'
import { home } from './home/home.ts'

const PAGES: readonly ((app: ConsoleApp) => void)[] = [home, find, customer]

export function registerPages(app: ConsoleApp): void {
  for (const register of PAGES) register(app)
}
