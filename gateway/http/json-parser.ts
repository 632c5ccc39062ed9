/** Reads bodies of `application/json`, the only content type that is accepted. */
import type { FastifyInstance } from 'fastify'
import { codedError, RequestError } from '../errors.ts'
import { hasMoreValues } from './json-size.ts'
import { parseBody } from './request.ts'

/** @param maxValues the most values in a body */
export function acceptJson(app: FastifyInstance, maxValues: number): void {
  app.removeAllContentTypeParsers()
  // A value of a JSON scalar may have members of any name. They are safe, because none is ever assigned to another
  // object.
  const parseJson = app.getDefaultJsonParser('ignore', 'ignore')
  app.addContentTypeParser<string>('application/json', { parseAs: 'string' }, (request, body, done) => {
    try {
      if (hasMoreValues(body, maxValues)) throw tooManyValues(maxValues)
      const exact = parseBody(body)
      if (exact === undefined) parseJson(request, body, done)
      else done(null, exact)
    } catch (error) {
      done(error as RequestError)
    }
  })
}

const tooManyValues = (max: number): RequestError =>
  new RequestError(
    [codedError(`The request has more than ${max} JSON values (BODY_LIMIT_VALUES).`, 'BAD_REQUEST')],
    413,
  )
