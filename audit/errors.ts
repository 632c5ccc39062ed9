/** Something an operator asked for that can't be had: its message is one line that says all there is to say. */
export class AuditError extends Error {
  override readonly name = 'AuditError'
  readonly code = 'AUD_ERR_REQUEST'
}
