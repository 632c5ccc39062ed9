/**
 * Shows the progress of a command on standard error: a bar on a terminal, otherwise a line now and then. Standard
 * output is for results.
 */
import { Presets, SingleBar } from 'cli-progress'

export interface ProgressDisplay {
  /**
   * @param share 0 to 1; undefined if it is not known
   * @param position the position in the log, for work on a log
   */
  report(done: number, share?: number, position?: bigint): void
  /** Ends the display with the totals. */
  stop(): void
}

const LINE_MS = 2_000

/**
 * @param label what is being done: `filling generation 2`
 * @param unit what is counted: `events`
 */
export function showProgress(label: string, unit: string): ProgressDisplay {
  const started = Date.now()
  const rate = (done: number) => Math.round((done * 1000) / Math.max(1, Date.now() - started))
  /** At the first report. Work that was begun before resumes in the middle. */
  let first: { readonly share: number; readonly at: number } | undefined
  const timeLeft = (share: number | undefined) => {
    if (share === undefined || first === undefined || share <= first.share) return ''
    const milliseconds = ((Date.now() - first.at) * (1 - share)) / (share - first.share)
    return `${Math.ceil(milliseconds / 1000)} s left`
  }
  const place = (position: bigint | undefined) => (position === undefined ? '' : `at position ${position}`)
  const percent = (share: number | undefined) => (share === undefined ? '' : `${Math.floor(share * 100)} %`)
  let last: { readonly done: number; readonly share?: number | undefined; readonly position?: bigint | undefined } = {
    done: 0,
  }
  const note = (done: number, share: number | undefined, position: bigint | undefined) => {
    if (share !== undefined) first ??= { share, at: Date.now() }
    last = { done, share, position: position ?? last.position }
  }

  if (process.stderr.isTTY) {
    const format = `${label} [{bar}] {percent} {done} ${unit} | {rate} ${unit}/s | {place} | {left}`
    const bar = new SingleBar({ format, hideCursor: true, stream: process.stderr }, Presets.shades_classic)
    const payload = () => ({
      done: last.done,
      rate: rate(last.done),
      percent: percent(last.share),
      place: place(last.position),
      left: timeLeft(last.share),
    })
    bar.start(1, 0, payload())
    return {
      report(done, share, position) {
        note(done, share, position)
        bar.update(share ?? 0, payload())
      },
      stop() {
        bar.update(1, payload())
        bar.stop()
      },
    }
  }

  let reportedAt = started
  const report = () => {
    const { done, share, position } = last
    const parts = [percent(share), `${done} ${unit}`, `${rate(done)} ${unit}/s`, place(position), timeLeft(share)]
    console.error(`${label}: ${parts.filter((part) => part !== '').join(', ')}`)
  }
  return {
    report(done, share, position) {
      note(done, share, position)
      if (Date.now() - reportedAt < LINE_MS) return
      reportedAt = Date.now()
      report()
    },
    stop() {
      last = { ...last, share: undefined }
      report()
    },
  }
}
