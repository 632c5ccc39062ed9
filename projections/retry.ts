/** A read model whose documents are read through outages, for work that has to finish. */
import type { Patience } from '../runtime/patience.ts'
import { createIdSet } from './id-set.ts'
import type { ReadModel } from './read-model.ts'

/**
 * What is read to compare documents is read again after an outage; `customers` begins anew and leaves out those that it has
 * returned before the outage. Every other call is passed through unchanged.
 */
export function withRetries(readModel: ReadModel, { answered, waitOut, retried }: Patience): ReadModel {
  return {
    ...readModel,
    generation: () => retried(() => readModel.generation()),
    generations: () => retried(() => readModel.generations()),
    documents: (ids) => retried(() => readModel.documents(ids)),
    differing: (ids, generation) => retried(() => readModel.differing(ids, generation)),
    lacking: (ids) => retried(() => readModel.lacking(ids)),

    async *customers() {
      const returned = createIdSet()
      for (let attempt = 0; ; attempt++) {
        try {
          for await (const ids of readModel.customers()) {
            // The cursor of a scan means nothing to a server that was restarted or took over.
            const fresh = ids.filter(returned.add)
            // The servers of a Cluster that are there answer again each time, while another one stays away.
            if (fresh.length === 0) continue
            answered()
            attempt = 0
            yield fresh
          }
          answered()
          return
        } catch (error) {
          await waitOut(error, attempt)
        }
      }
    },
  }
}
