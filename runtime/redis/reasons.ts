/** Why a call to Redis failed, in words for the operator. */
import { ErrorReply, RootNodesUnavailableError } from 'redis'
import { type ConnectionFault, connectionFaultIn } from '../connection-faults.ts'

/** What is wrong with the connection, and what to check in the URL. */
const CONNECTION_FAULTS: Readonly<Record<ConnectionFault, string>> = {
  unresolved: 'its name does not resolve; check the host',
  refused: 'nothing listens there; check host and port',
  unreachable: 'there is no route to it; check the host and the network',
  noTls: 'it does not speak TLS; use redis:// in place of rediss://, or its port for TLS',
  untrusted: 'its certificate is not signed by a known authority; name the file of that by NODE_EXTRA_CA_CERTS',
  otherName: 'its certificate is for other names; use one of them as the host',
  expired: 'its certificate has expired, or is not valid yet',
  protocol: 'it does not speak the protocol of Redis; check the port',
  closed: 'it closes the connection; check the port, and use rediss:// if it requires TLS',
  silent: 'no answer; check host and port, and use redis:// in place of rediss:// if it has no TLS',
}
const NO_CLUSTER = 'none of its nodes serves a cluster; check hosts, ports, TLS and password, or use redis://'
/** What the servers' error codes ask for. */
const REFUSALS: Readonly<Record<string, string>> = {
  NOAUTH: 'it requires a password (NOAUTH)',
  WRONGPASS: 'it does not accept this user and password (WRONGPASS)',
  NOPERM: "its access list does not allow the user what the service needs (NOPERM); see the user's rules",
}
/** NOPERM within a script, in the words of Redis 7, of later ones, and of those before. */
const NOT_ALLOWED = /can't (run this command|access at least one of the keys)|ACL failure|NOPERM/

/** Errors that a wrong URL leads to. */
const SETTINGS: readonly (readonly [RegExp, string])[] = [
  [NOT_ALLOWED, REFUSALS.NOPERM as string],
  [/^ERR DB index is out of range/, 'it has no database of that number'],
  [/^ERR unknown command '?SENTINEL/i, 'it is no Sentinel; check host and port, or use redis://'],
  [/^ERR This instance has cluster support disabled/, NO_CLUSTER],
]

/** Only the kind of a failure, because a server's message may quote what was sent. */
export function reasonOf(error: unknown): string {
  if (error instanceof ErrorReply) {
    const code = error.message.split(' ', 1)[0] ?? 'refused'
    return REFUSALS[code] ?? SETTINGS.find(([sign]) => sign.test(error.message))?.[1] ?? code
  }
  const { code, name, message } = error as Partial<NodeJS.ErrnoException>
  if (message === 'no answer') return message
  if (message === 'no connection') return CONNECTION_FAULTS.silent
  if (/Unknown RESP type/.test(message ?? '')) return CONNECTION_FAULTS.protocol
  if (error instanceof RootNodesUnavailableError) return NO_CLUSTER
  const kind = code ?? (name === 'Error' ? (error as object).constructor.name : name) ?? 'error'
  const fault = connectionFaultIn(`${kind} ${message}`)
  return fault === undefined ? kind : CONNECTION_FAULTS[fault]
}
