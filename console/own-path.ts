/**
 * A path of the console to go back to, as a form or a link gave it; `/` for anything else, so that nobody is sent to another
 * site.
 */
export function ownPath(given: string | null | undefined): string {
  return given && given.length <= 2_000 && /^\/(?![/\\])[\x21-\x7e]*$/.test(given) ? given : '/'
}
