/** What a refused operation answers. */
import type { Test } from 'tap'
import type { GraphQLAnswer } from './graph.ts'

/** Asserts that the answer is this one error at this field, and nothing else. */
export function refusesField(
  t: Test,
  answer: GraphQLAnswer,
  field: string,
  [message, category, code]: readonly [string, string, string?],
) {
  t.match(answer, {
    status: 200,
    data: { [field]: null },
    errors: [{ message, path: [field], extensions: { category, ...(code && { code }) } }],
  })
  t.equal(answer.errors?.length, 1)
}
