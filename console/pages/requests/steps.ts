/** The steps of a request of a data subject: their forms, and the commands that they are. */

import { RequestRefused } from '../../../audit/errors.ts'
import { ACCEPTED_DAYS, dayOf, parseDay } from '../../../audit/requests/deadlines.ts'
import { decide, type RequestCommand } from '../../../audit/requests/decide.ts'
import type { PrivacyRequest } from '../../../audit/requests/request.ts'
import { EXTENSION_GROUNDS, HOLD_GROUNDS, IDENTITY_CHECKS, REFUSAL_GROUNDS } from '../../../schema/privacy-requests.ts'
import { Refused } from '../../errors.ts'
import { choiceField, chosen, textField, textOf } from '../../form-fields.ts'
import { EMPTY, type Html, html } from '../../html.ts'

export interface RequestStep {
  /** As on the command line. */
  readonly name: string
  readonly title: string
  readonly button: string
  /** What it means, in a sentence. */
  readonly about: string
  readonly style: 'primary' | 'danger' | 'plain'
  /** Whether the officer has to say why. */
  readonly needsReason: boolean
  readonly fields: (form: string, now: Date) => Html
  /** What is behind the number on the command line. */
  readonly options: string
  /** @throws Refused 400 for a field that can't be used */
  readonly command: (form: URLSearchParams) => RequestCommand
  /** Whether a step that is not possible now is shown with the reason why. */
  readonly isMain: boolean
  /** A command by which to ask whether the step is possible. */
  readonly sample: RequestCommand
}

const plainStep = { style: 'plain', needsReason: false, fields: () => EMPTY, options: '', isMain: false } as const

export const REQUEST_STEPS: readonly RequestStep[] = [
  {
    ...plainStep,
    name: 'identify',
    title: 'Identity check',
    button: 'Record the check',
    about: 'How did you make sure that the person is who they say? A new check ends an approval.',
    fields: (form) => choiceField('how', 'Checked by', IDENTITY_CHECKS, { form }),
    options: '--how mailed-link',
    command: (form) => ({ type: 'identify', how: chosen(form, 'how', 'Checked by', IDENTITY_CHECKS) }),
    isMain: true,
    sample: { type: 'identify', how: 'other' },
  },
  {
    ...plainStep,
    name: 'approve',
    title: 'Approval',
    button: 'Approve',
    about: 'You have looked at the request and at the identity check, and the request may be executed.',
    style: 'primary',
    command: () => ({ type: 'approve' }),
    isMain: true,
    sample: { type: 'approve' },
  },
  {
    ...plainStep,
    name: 'extend',
    title: 'Extend the time limit',
    button: 'Extend by two months',
    about: 'Once, for a request that is complex or one of many. The person has to be told before the first limit ends.',
    fields: (form, now) =>
      html`${[
        choiceField('ground', 'Why', EXTENSION_GROUNDS, { form }),
        textField('toldOn', 'The person was told on', { type: 'date', value: dayOf(now), required: true, form }),
      ]}`,
    options: '--ground complexity --told-on 2026-01-31',
    command: (form) => ({
      type: 'extend',
      ground: chosen(form, 'ground', 'Why', EXTENSION_GROUNDS),
      toldOn: dayIn(form, 'toldOn', 'The person was told on'),
    }),
    sample: { type: 'extend', ground: 'complexity', toldOn: '' },
  },
  {
    ...plainStep,
    name: 'hold',
    title: 'Legal hold',
    button: 'Place the hold',
    about: 'Nothing of the person is erased by anybody here until the hold is released.',
    needsReason: true,
    fields: (form) => choiceField('ground', 'Why', HOLD_GROUNDS, { form }),
    options: "--ground legal-claim --reason '…'",
    command: (form) => ({ type: 'hold', ground: chosen(form, 'ground', 'Why', HOLD_GROUNDS) }),
    sample: { type: 'hold', ground: 'other' },
  },
  {
    ...plainStep,
    name: 'release',
    title: 'Release the legal hold',
    button: 'Release',
    about: 'The person may be erased again.',
    needsReason: true,
    options: "--reason '…'",
    command: () => ({ type: 'release' }),
    sample: { type: 'release' },
  },
  {
    ...plainStep,
    name: 'refuse',
    title: 'Refuse',
    button: 'Refuse the request',
    about: 'The request ends. The person has to be told why, and that they may complain to the authority.',
    style: 'danger',
    needsReason: true,
    fields: (form) => choiceField('ground', 'Why', REFUSAL_GROUNDS, { form }),
    options: "--ground excessive --reason '…'",
    command: (form) => ({ type: 'refuse', ground: chosen(form, 'ground', 'Why', REFUSAL_GROUNDS) }),
    sample: { type: 'refuse', ground: 'other' },
  },
]

/** Why a command is not possible now; undefined: it is. */
export function refusalOf(
  request: PrivacyRequest,
  command: RequestCommand,
  circumstances: Parameters<typeof decide>[2],
): string | undefined {
  try {
    // Extending depends on a day that nobody has chosen yet: today is the best.
    const asked = command.type === 'extend' ? { ...command, toldOn: dayOf(circumstances.now) } : command
    decide(request, asked, circumstances)
    return undefined
  } catch (error) {
    if (error instanceof RequestRefused) return error.message
    throw error
  }
}

/** @throws Refused 400 for anything but a date */
export function dayIn(form: URLSearchParams, name: string, label: string): string {
  const day = parseDay(textOf(form, name) ?? '')
  if (day !== undefined) return day
  throw new Refused(400, `${label}: accepted is ${ACCEPTED_DAYS}. Nothing was done.`)
}
