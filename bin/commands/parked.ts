/** `customers parked`: the events that the projection could not apply. Listed, shown, replayed or dropped. */

import { userInfo } from 'node:os'
import { placeText } from '../../audit/places.ts'
import { openLog } from '../../eventstore/open-event-store.ts'
import type { EventStore } from '../../eventstore/port.ts'
import { openForCommand } from '../../projections/open-read-model.ts'
import { dropParked, type Replayed, replayParked, waitingEvents, waitingText } from '../../projections/parked-events.ts'
import type { ParkedEvent, ReadModel } from '../../projections/read-model.ts'
import { runCommand } from '../../runtime/process.ts'

export const list = (): Promise<void> =>
  withParked(undefined, async (_stores, events) => {
    for (const { customerId, revision, type, reason } of events) {
      console.log(`customer ${customerId}\trevision ${revision}\t${type}\t${reason}`)
    }
    console.log(
      events.length === 0 ? 'No event is parked.' : `${events.length} parked; npm run parked -- show CUSTOMER`,
    )
    return 0
  })

export const show = (customer: string): Promise<void> =>
  withParked(customer, async (_stores, events) => {
    for (const event of events) print(event)
    return 0
  })

/** @param customer none: all */
export const replay = (customer: string | undefined): Promise<void> =>
  withParked(customer, async (stores, events, signal) => {
    if (events.length === 0) console.log('No event is parked.')
    else console.log(`Replaying ${waitingText(await waitingEvents(stores.eventStore, events))}.`)
    return report(replayParked(stores, events), signal)
  })

export const drop = (customer: string, { reason }: { readonly reason: string }): Promise<void> =>
  withParked(customer, async (stores, events, signal) => {
    const actor = `operator:${userInfo().username}`
    return report(dropParked(stores, events, { reason: reason.trim(), actor }), signal)
  })

interface Stores {
  readonly eventStore: EventStore
  readonly readModel: ReadModel
}

/** Works on the parked events: all, or a customer's. If that customer has none, the exit code is 1. */
function withParked(
  customer: string | undefined,
  work: (stores: Stores, events: readonly ParkedEvent[], signal: AbortSignal) => Promise<number>,
): Promise<void> {
  return runCommand(async (configuration, signal) => {
    const { eventStore } = await openLog(configuration)
    const readModel = await openForCommand(configuration.READMODEL_URL)
    try {
      const parked = await readModel.parked()
      const chosen = customer === undefined ? parked : parked.filter((event) => event.customerId === Number(customer))
      if (customer !== undefined && chosen.length === 0) {
        console.log(`Customer ${customer} has no parked event.`)
        return 1
      }
      return await work({ eventStore, readModel }, chosen, signal)
    } finally {
      await readModel.close()
      await eventStore.close()
    }
  })
}

function print({ customerId, stream, revision, type, reason, at }: ParkedEvent): void {
  console.log(`Customer   ${customerId}`)
  console.log(`Event      ${placeText({ stream, revision })}${type === '' ? '' : `, ${type}`}`)
  console.log(`Error      ${reason}`)
  console.log(`Parked at  ${at}`)
  console.log(`The document stays at revision ${revision - 1}; queries and commands of this customer fail until then.`)
  console.log(`  npm run parked -- replay ${customerId}   once a release can apply it`)
  console.log(`  npm run parked -- drop ${customerId} --reason "..."   to skip it`)
}

/** @returns 1 if a customer is stuck (again) @throws the signal's reason once it is aborted */
async function report(outcomes: AsyncIterable<Replayed>, signal: AbortSignal): Promise<number> {
  let stuckCount = 0
  try {
    for await (const { customerId, stuck } of outcomes) {
      if (stuck) {
        stuckCount++
        console.log(`customer ${customerId}: still parked at revision ${stuck.revision}: ${stuck.reason}`)
      } else console.log(`customer ${customerId}: replayed`)
      signal.throwIfAborted()
    }
  } catch (error) {
    console.error('Who is not named above is still parked: the same command goes on from there.')
    throw error
  }
  return stuckCount > 0 ? 1 : 0
}
