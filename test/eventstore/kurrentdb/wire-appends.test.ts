/** Appends as bytes, compared with what the official client's generated messages read and write. */
import fc from 'fast-check'
import t from 'tap'
import { sharedMessages, streamsMessages } from '../../../eventstore/kurrentdb/generated-messages.ts'
import { decodeAppendAnswer, encodeAppend } from '../../../eventstore/kurrentdb/wire-appends.ts'
import type { ExpectedRevision, NewEvent } from '../../../eventstore/port.ts'

const { BatchAppendReq, BatchAppendResp } = streamsMessages
const { UUID, AllStreamPosition } = sharedMessages

const text = fc.string({ unit: 'binary', minLength: 1, maxLength: 300 })
const json = fc.dictionary(fc.string(), fc.string({ maxLength: 300 }))
const event = fc.record(
  { id: fc.uuid(), type: text, data: fc.oneof(json, fc.uint8Array()), metadata: fc.oneof(json, fc.uint8Array()) },
  { requiredKeys: ['id', 'type', 'data'] },
)
const revision = fc.oneof(fc.nat(), fc.nat(Number.MAX_SAFE_INTEGER))
const expected = fc.oneof(fc.constantFrom('any', 'no_stream', 'stream_exists'), revision)

const bytesOf = (content: unknown) =>
  content instanceof Uint8Array
    ? Buffer.from(content)
    : Buffer.from(content === undefined ? '' : JSON.stringify(content))

t.test('an append is what the generated messages read', async (t) => {
  const property = fc.property(
    fc.uuid(),
    text,
    fc.array(event, { maxLength: 5 }),
    expected,
    fc.nat(2 ** 41),
    (correlationId, stream, events, expected, deadline) => {
      const frames = encodeAppend(correlationId, stream, events as NewEvent[], expected as ExpectedRevision, deadline)
      if (frames.length !== 1) return false
      const request = BatchAppendReq.deserializeBinary(new Uint8Array(frames[0] as Buffer))
      const options = request.getOptions()
      const timestamp = options.getDeadline21100()
      const cases = {
        any: options.hasAny(),
        no_stream: options.hasNoStream(),
        stream_exists: options.hasStreamExists(),
      }
      const found = Object.entries(cases).find(([, has]) => has)?.[0] ?? Number(options.getStreamPosition())
      const proposed = request.getProposedMessagesList()
      return (
        request.getCorrelationId().getString() === correlationId &&
        request.getIsFinal() &&
        Buffer.from(options.getStreamIdentifier().getStreamName_asU8()).toString() === Buffer.from(stream).toString() &&
        found === expected &&
        timestamp.getSeconds() * 1000 + timestamp.getNanos() / 1e6 === deadline &&
        proposed.length === events.length &&
        events.every(({ id, type, data, metadata }, index) => {
          const message = proposed[index]
          const properties = message.getMetadataMap()
          const contentType = data instanceof Uint8Array ? 'application/octet-stream' : 'application/json'
          return (
            message.getId().getString() === id &&
            properties.get('type') === Buffer.from(type).toString() &&
            properties.get('content-type') === contentType &&
            Buffer.from(message.getData_asU8()).equals(bytesOf(data)) &&
            Buffer.from(message.getCustomMetadata_asU8()).equals(bytesOf(metadata))
          )
        })
      )
    },
  )
  fc.assert(property)
  t.pass()
})

t.test('a large append has several messages, of which the last is the final one', async (t) => {
  const large = (id: number): NewEvent => ({
    id: `00000000-0000-4000-8000-00000000000${id}`,
    type: 'Large',
    data: { text: 'ä'.repeat(1_000_000) },
  })
  const frames = encodeAppend(crypto.randomUUID(), 'large', [large(1), large(2), large(3)], 'any', Date.now())
  const requests = frames.map((frame) => BatchAppendReq.deserializeBinary(new Uint8Array(frame)))
  t.same(
    requests.map((request) => [request.getProposedMessagesList().length, request.hasOptions(), request.getIsFinal()]),
    [
      [1, true, false],
      [1, false, false],
      [1, false, true],
    ],
  )
  t.throws(
    () => encodeAppend('', 'large', [{ ...large(1), data: { text: 'x'.repeat(16_777_216) } }], 'any', 0),
    { code: 'EVS_ERR_APPEND_TOO_LARGE' },
    'an event that no server takes',
  )
})

t.test('an answer is read as the generated messages write it', async (t) => {
  const answer = (fill: (response: InstanceType<typeof BatchAppendResp>) => void) => {
    const response = new BatchAppendResp()
    const id = new UUID()
    id.setString('68b38269-83b3-4982-8d61-aaa6400e9bff')
    response.setCorrelationId(id)
    fill(response)
    return decodeAppendAnswer(Buffer.from(response.serializeBinary()))
  }
  const written = answer((response) => {
    const success = new BatchAppendResp.Success()
    success.setCurrentRevision('4294967297')
    const position = new AllStreamPosition()
    position.setCommitPosition('18446744073709551614')
    position.setPreparePosition('1')
    success.setPosition(position)
    response.setSuccess(success)
  })
  t.same(written, {
    correlationId: '68b38269-83b3-4982-8d61-aaa6400e9bff',
    refusal: undefined,
    result: { revision: 4_294_967_297, position: { commit: 18_446_744_073_709_551_614n, prepare: 1n } },
  })
})
