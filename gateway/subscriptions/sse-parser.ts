/** Parses a subgraph's event stream, as its bytes arrive. https://html.spec.whatwg.org/multipage/server-sent-events.html */

import { AnswerTooLarge } from '../subgraphs/decompression.ts'

export interface SseParser {
  /** @throws AnswerTooLarge */
  push(chunk: Buffer): void
}

/**
 * @param maxLength the most characters of one event
 * @param onEvent called with each event: its type (`message` without one) and its data
 */
export function createSseParser(maxLength: number, onEvent: (type: string, data: string) => void): SseParser {
  const decoder = new TextDecoder()
  let rest = ''
  let type = ''
  let data: string | undefined
  let length = 0

  function line(text: string): void {
    if (text === '') {
      if (data !== undefined || type !== '') onEvent(type || 'message', data ?? '')
      type = ''
      data = undefined
      length = 0
      return
    }
    const colon = text.indexOf(':')
    if (colon === 0) return // a comment
    const name = colon < 0 ? text : text.slice(0, colon)
    const value = colon < 0 ? '' : text.slice(text[colon + 1] === ' ' ? colon + 2 : colon + 1)
    if (name === 'event') type = value
    else if (name === 'data') {
      length += value.length
      if (length > maxLength) throw new AnswerTooLarge()
      data = data === undefined ? value : `${data}\n${value}`
    }
  }

  return {
    push(chunk) {
      const text = decoder.decode(chunk, { stream: true })
      // Most chunks have whole lines. A long line in many chunks is joined once, when its end arrives.
      if (!/[\r\n]/.test(text)) {
        rest += text
        if (rest.length > maxLength) throw new AnswerTooLarge()
        return
      }
      const lines = (rest + text).split(/\r\n|\n|\r(?!$)/)
      rest = lines.pop() ?? ''
      if (rest.length > maxLength) throw new AnswerTooLarge()
      for (const each of lines) line(each)
    },
  }
}
