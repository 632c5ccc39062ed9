/** Reads bodies of `application/json`, the only content type that is accepted. */
import type { FastifyInstance } from 'fastify'
import type { RequestError } from '../errors.ts'
import { parseBody } from './request.ts'

export function acceptJson(app: FastifyInstance): void {
  app.removeAllContentTypeParsers()
  // A value of a JSON scalar may have members of any name. They are safe, because none is ever assigned to another
  // object.
  const parseJson = app.getDefaultJsonParser('ignore', 'ignore')
  app.addContentTypeParser<string>('application/json', { parseAs: 'string' }, (request, body, done) => {
    try {
      const exact = parseBody(body)
      if (exact === undefined) parseJson(request, body, done)
      else done(null, exact)
    } catch (error) {
      done(error as RequestError)
    }
  })
}
