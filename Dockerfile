# One image for all processes: the command says which (docker-compose.yml).
FROM node:24-bookworm-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev

FROM node:24-bookworm-slim
ENV NODE_ENV=production HOST=0.0.0.0
WORKDIR /app
COPY --from=dependencies /app/node_modules node_modules
COPY package.json ./
COPY schema schema
COPY eventstore eventstore
COPY projections projections
COPY subgraph subgraph
COPY gateway gateway
COPY mail mail
# Where mails are written while no mail server is set.
RUN mkdir /data && chown node /data
USER node
CMD ["node", "subgraph/main.ts"]
