/** The outcome of a verification in plain words. */
import { placeText } from '../places.ts'
import type { Fault, FaultKind, Verification } from './verify.ts'

/** How many faults are listed individually. */
const MOST_LISTED = 100

/** The outcome in lines: its faults, what was read, what checkpoints cover. */
export function* verificationLines(result: Verification): Generator<string> {
  const { checkpoints, faults, faultCount, inTree, covered } = result
  for (const fault of faults.slice(0, MOST_LISTED)) yield faultText(fault)
  if (faultCount > MOST_LISTED) yield `... and ${faultCount - MOST_LISTED} more.`
  yield `${counted(result.events, 'event')} of ${counted(result.streams, 'stream')} were read, and ${result.hashed} compared with their hashes.`
  if (result.withoutHash > 0) {
    yield `${counted(result.withoutHash, 'event')} from before there were hashes: only the signed checkpoints protect them.`
  }
  if (result.withoutPrevious > 0) {
    yield `For ${result.withoutPrevious} of them the event before is gone, so only their own content could be checked. That is normal: of some streams the service keeps only the newest events.`
  }
  const { newest } = checkpoints
  if (newest) {
    yield `${checkpoints.good} of ${checkpoints.count} checkpoints are valid. The newest was signed at ${newest.time} and covers the first ${newest.size} of the ${inTree} events that checkpoints cover.`
  } else if (checkpoints.count === 0) yield 'There are no signed checkpoints yet.'
  else yield `None of the ${checkpoints.count} checkpoints is valid.`
  yield inTree === covered
    ? 'No event is left uncovered.'
    : `Not covered yet: ${counted(inTree - covered, 'event')}. If somebody cut them off the end of the log, nobody would notice.`
  yield result.ok
    ? 'The log is whole: nothing in it was changed, removed, put in or moved.'
    : `The log is not as it was written: ${counted(faultCount, 'fault')}.`
}

/** `1 event`, `2 events` */
export const counted = (number: number, what: string) => `${number} ${what}${number === 1 ? '' : 's'}`

const TITLES: Readonly<Record<FaultKind, string>> = {
  altered: 'Changed',
  removed: 'Removed',
  inserted: 'Put in',
  reordered: 'Moved',
  unlinked: 'Broken chain',
  checkpoint: 'Checkpoint',
}

/** A fault in one line. */
export function faultText({ kind, position, message, ...place }: Fault): string {
  const where = position ? ` (position ${position.commit} of the log)` : ''
  return `${TITLES[kind]}: ${placeText(place)}${where}. ${message}`
}
