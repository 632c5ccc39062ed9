/** `npm run parked`: the events that the projection could not apply. Listed, shown, replayed or dropped. */
import { userInfo } from 'node:os'
import { openLog } from '../eventstore/open.ts'
import type { EventStore } from '../eventstore/port.ts'
import { createApplier } from '../projections/apply.ts'
import { absentCustomer } from '../projections/customer.ts'
import { customerStream } from '../projections/fold.ts'
import { openReadModel } from '../projections/open.ts'
import type { Failure } from '../projections/parking.ts'
import type { ParkedEvent, ReadModel } from '../projections/read-model.ts'
import { skipEvent } from '../projections/skips.ts'
import { ConfigurationError } from '../runtime/configuration.ts'
import { readArguments, runCommand } from '../runtime/process.ts'

const USAGE = 'list, show CUSTOMER, replay CUSTOMER, replay --all, or drop CUSTOMER --reason TEXT'

await runCommand(async (configuration) => {
  const { READMODEL_URL } = configuration
  const { values, positionals } = readArguments(
    {
      allowPositionals: true,
      options: { all: { type: 'boolean', default: false }, reason: { type: 'string', default: '' } },
    },
    USAGE,
  )
  const [action = 'list', id] = positionals
  if (!['list', 'show', 'replay', 'drop'].includes(action) || positionals.length > 2) throw usage()
  const all = action === 'replay' && values.all
  if ((action === 'list' || all) !== (id === undefined)) throw usage()
  if (action === 'drop' && values.reason.trim() === '') {
    throw new ConfigurationError('drop needs --reason TEXT: it is recorded with the decision.')
  }
  if (id !== undefined && !/^[1-9]\d*$/.test(id)) {
    throw new ConfigurationError(`Customer ${JSON.stringify(id)} can't be used; accepted: a customer's number.`)
  }

  const { eventStore } = await openLog(configuration)
  const readModel = openReadModel(READMODEL_URL)
  try {
    const parked = await readModel.parked()
    const chosen = id === undefined ? parked : parked.filter(({ customerId }) => customerId === Number(id))
    if (id !== undefined && chosen.length === 0) {
      console.log(`Customer ${id} has no parked event.`)
      return 1
    }
    switch (action) {
      case 'show':
        for (const event of chosen) show(event)
        return 0
      case 'replay':
        if (chosen.length === 0) console.log('No event is parked.')
        return await replay(eventStore, readModel, chosen)
      case 'drop': {
        for (const { customerId, revision } of chosen) {
          await skipEvent(eventStore, {
            customerId,
            revision,
            reason: values.reason.trim(),
            actor: `operator:${userInfo().username}`,
          })
        }
        return await replay(eventStore, readModel, chosen)
      }
      default:
        for (const event of chosen)
          console.log(`customer ${event.customerId}\trevision ${event.revision}\t${event.type}\t${event.reason}`)
        console.log(
          chosen.length === 0 ? 'No event is parked.' : `${chosen.length} parked; npm run parked -- show CUSTOMER`,
        )
        return 0
    }
  } finally {
    await readModel.close()
    await eventStore.close()
  }
})

function usage(): ConfigurationError {
  return new ConfigurationError(`These arguments can't be used; accepted: ${USAGE}.`)
}

function show({ customerId, stream, revision, type, reason, at }: ParkedEvent): void {
  console.log(`Customer   ${customerId}`)
  console.log(`Event      ${revision}@${stream}${type === '' ? '' : `, ${type}`}`)
  console.log(`Error      ${reason}`)
  console.log(`Parked at  ${at}`)
  console.log(`The document stays at revision ${revision - 1}; queries and commands of this customer fail until then.`)
  console.log(`  npm run parked -- replay ${customerId}   once a release can apply it`)
  console.log(`  npm run parked -- drop ${customerId} --reason "..."   to go on without it`)
}

/** Brings the customers' documents up to the ends of their streams. @returns 1 where one is stuck (again) */
async function replay(eventStore: EventStore, readModel: ReadModel, events: readonly ParkedEvent[]): Promise<number> {
  const failures: Failure[] = []
  const applier = createApplier({ eventStore, readModel, onFailure: (failure) => failures.push(failure) })
  for (const { customerId } of events) {
    const [document] = await readModel.documents([customerId])
    const from = (document ?? absentCustomer(customerId)).revision + 1
    const rest = []
    for await (const event of eventStore.readStream(customerStream(customerId), { from })) rest.push(event)
    await applier.apply(rest)
    const failure = failures.find(({ stream }) => stream === customerStream(customerId))
    if (failure)
      console.log(
        `customer ${customerId}: still parked at revision ${failure.revision}: ${(failure.error as Error).message}`,
      )
    else {
      await readModel.unpark(customerId)
      console.log(`customer ${customerId}: replayed`)
    }
  }
  return failures.length > 0 ? 1 : 0
}
