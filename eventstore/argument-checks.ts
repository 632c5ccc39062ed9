/** Refuses arguments that no store accepts, before the store is called. */
import { type ExpectedRevision, InvalidArgument, type NewEvent, type Position, type StreamMetadata } from './port.ts'

const UUID = /^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$/

export function checkStreamName(stream: string): void {
  if (stream === '' || stream.startsWith('$$')) {
    throw new InvalidArgument(`${JSON.stringify(stream)} is not a stream's name.`)
  }
}

export function checkExpectedRevision(expected: ExpectedRevision): void {
  if (typeof expected === 'number' && (!Number.isSafeInteger(expected) || expected < 0)) {
    throw new InvalidArgument(`${expected} is not a revision: a whole number, 0 or more.`)
  }
}

export function checkCount(count: number, name: string): void {
  if (!Number.isSafeInteger(count) || count < 1)
    throw new InvalidArgument(`${name} is ${count}: a whole number, 1 or more.`)
}

/** @param to the end of a read of the log */
export function checkEnd(to: Position | undefined, forwards: boolean): void {
  if (to !== undefined && !forwards) throw new InvalidArgument('A backwards read can only be limited by its count.')
}

export function checkMetadata(metadata: StreamMetadata): void {
  for (const [key, least] of [
    ['$maxCount', 1],
    ['$maxAge', 1],
    ['$tb', 0],
  ] as const) {
    const value = metadata[key]
    if (value !== undefined && (!Number.isSafeInteger(value) || (value as number) < least)) {
      throw new InvalidArgument(`Metadata ${key} is ${JSON.stringify(value)}: a whole number, ${least} or more.`)
    }
  }
}

/** An event's id and type. */
export function checkEvent({ id, type }: NewEvent): void {
  if (!UUID.test(id)) throw new InvalidArgument(`Event id ${JSON.stringify(id)} is not a UUID.`)
  if (type === '') throw new InvalidArgument('An event needs a type.')
}
