/** The mail worker's Prometheus metrics. No label holds an address. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client'
import type { MailObserver } from './queue.ts'
import type { MailStatus } from './worker.ts'

/** @param status the current status; called when the metrics are collected */
export function createMailMetrics(registry: Registry, status: () => MailStatus): MailObserver {
  const registers = [registry]
  const counter = <L extends string>(name: string, help: string, labelNames: L[]) =>
    new Counter({ name, help, labelNames, registers })
  const sent = counter('mail_sent_total', 'Mails handed to the mail server, or written to a file.', ['mail'])
  const failed = counter('mail_failed_total', 'Mails refused for good, or given up after too many attempts.', ['mail'])
  const skipped = counter('mail_skipped_total', 'Mails not sent because they are no longer wanted.', ['mail', 'reason'])
  const retried = counter('mail_retries_total', 'Failed attempts that are retried.', ['mail'])
  const interruptions = counter('mail_interruptions_total', 'Outages of the mail server.', [])
  const delivery = new Histogram({
    name: 'mail_delivery_seconds',
    help: "From the event that asks for a mail to the mail server's acceptance.",
    buckets: [0.1, 0.5, 1, 5, 10, 30, 60, 300, 1_800, 7_200],
    registers,
  })
  new Gauge({
    name: 'mail_waiting',
    help: 'Mails in hand that are not sent yet.',
    registers,
    collect() {
      this.set(status().waiting)
    },
  })
  new Gauge({
    name: 'mail_lag_seconds',
    help: 'Age of the oldest mail that is not sent yet.',
    registers,
    collect() {
      this.set(status().lagSeconds)
    },
  })
  return {
    sent(mail, requested) {
      sent.inc({ mail })
      delivery.observe(Math.max(0, (Date.now() - requested.getTime()) / 1000))
    },
    failed: (mail) => failed.inc({ mail }),
    skipped: (mail, reason) => skipped.inc({ mail, reason }),
    retried: (mail) => retried.inc({ mail }),
    interrupted: () => interruptions.inc(),
  }
}
