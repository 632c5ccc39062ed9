/** Whether two actors are the same person. */

/**
 * Compares the names behind the kinds of actor, so that `operator:ann` on the command line and a signed-in
 * `ann@example.com` count as one person. On doubt they do: where only one of the two has a domain, the part before it
 * decides.
 */
export function isSamePerson(a: string, b: string): boolean {
  const [first, second] = [nameOf(a), nameOf(b)]
  if (first === second) return true
  const hasDomain = [first, second].map((name) => name.includes('@'))
  return hasDomain[0] !== hasDomain[1] && localPart(first) === localPart(second)
}

const nameOf = (actor: string) =>
  actor
    .slice(actor.indexOf(':') + 1)
    .normalize('NFKC')
    .trim()
    .toLowerCase()

const localPart = (name: string) => name.split('@')[0]
