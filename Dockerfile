# One image for all processes: the command says which (docker-compose.yml).
FROM node:24-bookworm-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev

FROM node:24-bookworm-slim
# A smaller young generation: half the memory for garbage, at no cost that can be measured.
ENV NODE_ENV=production HOST=0.0.0.0 NODE_OPTIONS=--max-semi-space-size=32 MALLOC_ARENA_MAX=2
WORKDIR /app
COPY --from=dependencies /app/node_modules node_modules
COPY package.json ./
COPY bin bin
COPY runtime runtime
COPY schema schema
COPY eventstore eventstore
COPY projections projections
COPY audit audit
COPY subgraph subgraph
COPY gateway gateway
COPY mail mail
COPY console console
COPY examples examples
# Volumes take their owner from these: mails while no mail server is set, the keys of customers, what commands write. And where
# Node keeps what it compiles.
RUN mkdir -p /data /keys /output node_modules/.cache/customers && chown node /data /keys /output node_modules/.cache/customers
USER node
# Compiled once for all containers of this user: a process starts in half the time, with 25 MB less.
RUN NODE_COMPILE_CACHE=node_modules/.cache/customers node --input-type=module --eval "\
  import { globSync } from 'node:fs'; \
  const modules = ['bin/customers.ts', 'bin/commands/*.ts', 'eventstore/kurrentdb/event-store.ts', 'projections/redis/read-model.ts']; \
  await Promise.all(globSync(modules).map((name) => import('./' + name))); \
  process.exit()"
CMD ["node", "bin/customers.js", "subgraph"]
