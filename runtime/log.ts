/** What the parts of the service write to of a logger: pino's methods, as Fastify's `log` has them. */
export interface Log {
  info(details: object, message: string): void
  warn(details: object, message: string): void
  error(details: object, message: string): void
}

/** Writes nothing. */
export const SILENT: Log = { info() {}, warn() {}, error() {} }
