/** The address of the page of a customer. */

/** What the address may have. */
const NAMES = ['at', 'from', 'zone', 'field', 'page'] as const
type Name = (typeof NAMES)[number]

/** @param more parameters that differ; undefined: left out */
export function address(
  customerId: number,
  query: URLSearchParams,
  more: Partial<Readonly<Record<Name, string | undefined>>> = {},
): string {
  const changed = new URLSearchParams()
  for (const name of NAMES) {
    const text = name in more ? more[name] : query.get(name)
    if (text) changed.set(name, text)
  }
  return `/customers/${customerId}${changed.size > 0 ? `?${changed}` : ''}`
}
