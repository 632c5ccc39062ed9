/** Records of access that are older than the store's settings allow are not shown, even if a server still has them. */
import type { ConsoleOptions } from '../routes.ts'

/** Whether an event may still be shown. */
export function shownAccess(
  { store }: ConsoleOptions,
  now: Date,
): (event: { readonly type: string; readonly created: Date }) => boolean {
  const oldest = now.getTime() - store.audit.retentionDays * 86_400_000
  return ({ type, created }) => type !== 'AccessRecorded' || created.getTime() >= oldest
}
