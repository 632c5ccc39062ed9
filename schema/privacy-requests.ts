/** What is chosen from in requests of data subjects. Apart from the events, so that `--help` does not load those. */

/** What a data subject may ask for (GDPR art. 15 to 18, 20 and 21). */
export const REQUEST_KINDS = ['access', 'rectification', 'erasure', 'portability', 'restriction', 'objection'] as const
/** How a request came in. */
export const REQUEST_CHANNELS = ['e-mail', 'letter', 'telephone', 'in-person', 'account', 'other'] as const
/** How the identity of the person who asks was checked. */
export const IDENTITY_CHECKS = ['signed-in', 'mailed-link', 'call-back', 'document', 'in-person', 'other'] as const
/** What may extend the time limit (art. 12, paragraph 3). */
export const EXTENSION_GROUNDS = ['complexity', 'number-of-requests'] as const
/** What may stop an erasure (art. 17, paragraph 3). */
export const HOLD_GROUNDS = ['legal-claim', 'legal-obligation', 'investigation', 'other'] as const
export const REFUSAL_GROUNDS = [
  'identity-not-established',
  'unfounded',
  'excessive',
  'legal-claim',
  'legal-obligation',
  'rights-of-others',
  'withdrawn',
  'other',
] as const
/** What an erasure leaves for people to do. */
export const ERASURE_STEPS = ['scavenge', 'replicas', 'backups', 'files', 'other-systems'] as const
