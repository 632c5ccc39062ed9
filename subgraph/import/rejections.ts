/** Which errors reject a row, and with which reason. */
import { InvalidEvent } from '../../eventstore/errors.ts'
import { AppendTooLarge } from '../../eventstore/port.ts'
import { RejectedRow } from './errors.ts'

export const addressTaken = () => new RejectedRow('the e-mail address belongs to another customer')
export const idTaken = (id: number) => new RejectedRow(`the id ${id} belongs to another customer`)

export const isRejection = (error: unknown) =>
  error instanceof RejectedRow || error instanceof InvalidEvent || error instanceof AppendTooLarge

/** Why a row is rejected. @throws the error if it is not the row's fault */
export function rejectionOf(error: unknown): RejectedRow {
  if (error instanceof RejectedRow) return error
  if (error instanceof InvalidEvent) return new RejectedRow(error.message) // names fields, never values
  if (error instanceof AppendTooLarge) return new RejectedRow('the row is too large')
  throw error
}
