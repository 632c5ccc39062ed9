/** The progress of a command: a bar on a terminal, a line now and then elsewhere. On standard error: what is found is on standard output. */
import { Presets, SingleBar } from 'cli-progress'

export interface ProgressDisplay {
  /** @param share 0 to 1 of the whole; undefined where it is not known */
  report(done: number, share?: number): void
  /** The last word, with the whole's figures. */
  stop(): void
}

const LINE_MS = 2_000

/**
 * @param label what is done: `filling generation 2`
 * @param unit what is counted: `events`
 */
export function showProgress(label: string, unit: string): ProgressDisplay {
  const started = Date.now()
  const rate = (done: number) => Math.round((done * 1000) / Math.max(1, Date.now() - started))
  const timeLeft = (share: number | undefined) =>
    share ? `${Math.ceil(((Date.now() - started) * (1 - share)) / share / 1000)} s left` : ''
  const percent = (share: number | undefined) => (share === undefined ? '' : `${Math.floor(share * 100)} %`)
  let last = { done: 0, share: undefined as number | undefined }

  if (process.stderr.isTTY) {
    const format = `${label} [{bar}] {percent} {done} ${unit} | {rate} ${unit}/s | {left}`
    const bar = new SingleBar({ format, hideCursor: true, stream: process.stderr }, Presets.shades_classic)
    const payload = () => ({
      done: last.done,
      rate: rate(last.done),
      percent: percent(last.share),
      left: timeLeft(last.share),
    })
    bar.start(1, 0, payload())
    return {
      report(done, share) {
        last = { done, share }
        bar.update(share ?? 0, payload())
      },
      stop() {
        bar.update(1, payload())
        bar.stop()
      },
    }
  }

  let told = started
  const tell = () => {
    const parts = [percent(last.share), `${last.done} ${unit}`, `${rate(last.done)} ${unit}/s`, timeLeft(last.share)]
    console.error(`${label}: ${parts.filter((part) => part !== '').join(', ')}`)
  }
  return {
    report(done, share) {
      last = { done, share }
      if (Date.now() - told < LINE_MS) return
      told = Date.now()
      tell()
    },
    stop() {
      last = { done: last.done, share: undefined }
      tell()
    },
  }
}
