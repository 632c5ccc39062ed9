/** The logger that the parts of the service use: the methods of pino, as in Fastify's `log`. */
export interface Log {
  info(details: object, message: string): void
  warn(details: object, message: string): void
  error(details: object, message: string): void
}

/** Writes nothing. */
export const SILENT: Log = { info() {}, warn() {}, error() {} }
