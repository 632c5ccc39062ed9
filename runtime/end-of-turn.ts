/**
 * Resolves when everything that has arrived in this turn of the event loop has been seen to. What several requests ask
 * of one store in a turn can then be asked at once.
 */
export const endOfTurn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve))
