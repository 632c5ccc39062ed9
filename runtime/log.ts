/** The logger that the parts of the service use. */
import { hostname } from 'node:os'
import type { Configuration } from './configuration.ts'
import { VERSION } from './version.ts'

/** The methods of pino, as in Fastify's `log`. */
export interface Log {
  info(details: object, message: string): void
  warn(details: object, message: string): void
  error(details: object, message: string): void
}

/**
 * Pino's options for a process: its name and version are in every line, by OpenTelemetry's names.
 * @param service the process's name, unless OTEL_SERVICE_NAME gives another
 */
export function loggerOptions(
  { LOG_LEVEL, OTEL_SERVICE_NAME }: Pick<Configuration, 'LOG_LEVEL' | 'OTEL_SERVICE_NAME'>,
  service: string,
): { readonly level: string; readonly base: Readonly<Record<string, unknown>> } {
  const name = OTEL_SERVICE_NAME ?? service
  return {
    level: LOG_LEVEL,
    base: { pid: process.pid, hostname: hostname(), 'service.name': name, 'service.version': VERSION },
  }
}

/** Writes nothing. */
export const SILENT: Log = { info() {}, warn() {}, error() {} }
