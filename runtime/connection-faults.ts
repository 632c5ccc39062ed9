/** Why a server can't be reached, in words for the operator, from the errors of sockets, of TLS and of the clients. */

/** - `silent`: a connection, or an attempt at one, without an answer */
export type ConnectionFault =
  | 'unresolved'
  | 'refused'
  | 'unreachable'
  | 'noTls'
  | 'untrusted'
  | 'otherName'
  | 'expired'
  | 'closed'
  | 'protocol'
  | 'silent'

/** OpenSSL's and Node's codes and texts, those of undici's and node-redis' errors, and grpc-js' texts. */
const SIGNS: readonly (readonly [ConnectionFault, RegExp])[] = [
  ['unresolved', /ENOTFOUND|EAI_AGAIN|Name resolution failed/],
  ['refused', /ECONNREFUSED/],
  ['unreachable', /EHOSTUNREACH|ENETUNREACH|EADDRNOTAVAIL/],
  ['expired', /CERT_HAS_EXPIRED|certificate has expired|CERT_NOT_YET_VALID|certificate is not yet valid/],
  ['otherName', /ALTNAME|altnames/],
  ['untrusted', /SELF_SIGNED|self.signed|UNABLE_TO_(GET|VERIFY)|unable to (get|verify)|CERT_UNTRUSTED/],
  ['noTls', /wrong version number|WRONG_VERSION|packet length too long|PACKET_LENGTH|EPROTO/],
  ['protocol', /Protocol error/],
  [
    'closed',
    /ECONNRESET|EPIPE|SocketClosed|Socket closed|socket hang up|socket disconnected|Failed to connect|ECONNABORTED/,
  ],
  ['silent', /ETIMEDOUT|ConnectionTimeout|Connection timeout|SocketTimeout|no answer/],
]

/** @param text of an error: its code, its class and its message, as far as there are any */
export const connectionFaultIn = (text: string): ConnectionFault | undefined =>
  SIGNS.find(([, sign]) => sign.test(text))?.[0]
