/** Serves the files of `console/assets/`: scripts, styles, pictures. They are read once, with the first request for one. */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { extname, join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import { lazily } from '../runtime/lazily.ts'

const TYPES: Readonly<Record<string, string>> = {
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
}

interface Asset {
  readonly content: Buffer
  readonly type: string
  readonly etag: string
}

const loaded = lazily((): ReadonlyMap<string, Asset> => {
  const folder = join(import.meta.dirname, 'assets')
  return new Map(
    readdirSync(folder).map((name) => {
      const content = readFileSync(join(folder, name))
      const etag = `"${createHash('sha256').update(content).digest('base64url').slice(0, 22)}"`
      return [name, { content, type: TYPES[extname(name)] ?? 'application/octet-stream', etag }]
    }),
  )
})

export function serveAssets(fastify: FastifyInstance): void {
  fastify.get<{ Params: { name: string } }>(
    '/assets/:name',
    { config: { access: 'public' } },
    async (request, reply) => {
      const asset = loaded().get(request.params.name)
      if (asset === undefined) return reply.callNotFound()
      reply.header('etag', asset.etag).header('cache-control', 'no-cache')
      if (request.headers['if-none-match'] === asset.etag) return reply.code(304).send()
      return reply.type(asset.type).send(asset.content)
    },
  )
}
