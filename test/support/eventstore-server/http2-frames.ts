/** Frames of HTTP/2 in a stream of bytes (RFC 9113, section 4.1), as far as a proxy has to know them. */

const HEADER = 9
const DATA = 0

/** Gives a function that is told each chunk of one direction of a connection, and says whether a DATA frame begins in it. */
export function onDataFrame(): (chunk: Buffer) => boolean {
  /** Bytes of the present frame's content that are still to come. */
  let content = 0
  let header = Buffer.alloc(0)
  return (chunk) => {
    let found = false
    for (let at = 0; at < chunk.length; ) {
      if (content > 0) {
        const skipped = Math.min(content, chunk.length - at)
        content -= skipped
        at += skipped
        continue
      }
      const taken = chunk.subarray(at, at + HEADER - header.length)
      header = Buffer.concat([header, taken])
      at += taken.length
      if (header.length < HEADER) continue
      content = header.readUIntBE(0, 3)
      if (header[3] === DATA && content > 0) found = true
      header = Buffer.alloc(0)
    }
    return found
  }
}
