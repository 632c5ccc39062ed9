/** The longest message of an error: some quote the client's input. Characters. */
const MAX_MESSAGE = 500

/** A message, cut where it is too long. */
export const shortened = (message: string): string =>
  message.length > MAX_MESSAGE ? `${message.slice(0, MAX_MESSAGE)}…` : message
