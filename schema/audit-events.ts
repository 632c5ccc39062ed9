/** Events of auditors and privacy officers: proofs of the log, who looked at what, requests of data subjects. */
import { z } from 'zod'
import { count, id, personalText, position } from './event-fields.ts'
import {
  ERASURE_STEPS,
  EXTENSION_GROUNDS,
  HOLD_GROUNDS,
  IDENTITY_CHECKS,
  REFUSAL_GROUNDS,
  REQUEST_CHANNELS,
  REQUEST_KINDS,
} from './privacy-requests.ts'

/** The stream `logCheckpoints`: signed checkpoints of the log (audit/proof/signed-checkpoints.ts). */
export const checkpointEventSchemas = {
  LogCheckpointWritten: z.strictObject({
    /** Leaves of the tree, and its root (base64url). */
    size: id,
    root: z.string(),
    /** Of the last event in the tree. */
    position,
    time: z.iso.datetime(),
    /** RFC 7638 thumbprint of the public key. */
    keyId: z.string(),
    signature: z.string(),
    /** The tree's right edge, from which the next checkpoint goes on. */
    edge: z.array(z.string()),
  }),
} as const

/** The stream `logVerifications`: each verification of the whole log (audit/proof/verifications.ts). */
export const verificationEventSchemas = {
  LogVerified: z.strictObject({
    /** Who ran it, such as `operator:<user>`. */
    by: z.string(),
    /** When it ended. */
    at: z.iso.datetime(),
    /** What was read. */
    events: count,
    streams: count,
    /** How many faults it found; 0: the log is whole. */
    faults: count,
    /** How many events of the tree no valid checkpoint covers. */
    uncovered: count,
    /** How many checkpoints are valid. */
    checkpoints: count,
  }),
} as const

/** The kinds of {@link accessEventSchemas}. */
export const ACCESS_KINDS = [
  'signed-in',
  'sign-in-failed',
  /** A wrong current password was given. */
  'password-refused',
  'locked',
  'password-reset-requested',
  'password-reset',
  'password-changed',
  'tokens-revoked',
] as const
export type AccessKind = (typeof ACCESS_KINDS)[number]

/**
 * Streams `customerAccess-<id>` (or the keyed hash of an address that nobody has), kept for as long as the store's
 * settings say: who signed in from where. Never a password or a token.
 */
export const accessEventSchemas = {
  AccessRecorded: z.strictObject({
    kind: z.enum(ACCESS_KINDS),
    /** An address, or only its network: `203.0.113.0/24`. */
    clientAddress: personalText.optional(),
    userAgent: personalText.optional(),
  }),
} as const

/** The stream `auditReveals`: who was shown personal data. */
export const auditEventSchemas = {
  /**
   * Written before anything is shown. `customerId` null: of more than one customer, or, with `emailKeys`, of an address
   * that is no customer's.
   */
  PersonalDataRevealed: z.strictObject({
    customerId: id.nullable(),
    emailKeys: z.array(z.string()).optional(),
    command: z.string(),
    reason: z.string().min(1),
  }),
  /**
   * Stream `auditExports`, written before a file of events is given out. `revealed`: with personal data in clear; then there
   * is a PersonalDataRevealed, too. `customerId` null: of more than one customer.
   */
  EventsExported: z.strictObject({ customerId: id.nullable(), command: z.string(), revealed: z.boolean() }),
} as const

/** The stream `serviceTokens`: never the tokens themselves. */
export const serviceTokenEventSchemas = {
  /** `scope`: names with spaces between them. */
  ServiceTokenIssued: z.strictObject({
    subject: z.string(),
    scope: z.string(),
    jti: z.string(),
    expiresAt: z.iso.datetime(),
  }),
  /** From then on the token is refused. */
  ServiceTokenEnded: z.strictObject({ jti: z.string(), reason: z.string().min(1) }),
} as const

/** `note`: the id of the event in the subject's notes with the officer's words; they are erased with the subject. */
const aboutRequest = z.strictObject({ request: id, note: z.uuid().optional() })

/**
 * The stream `privacyRequests`: the register of requests of data subjects. It is kept for good and outlives an erasure,
 * so it says who somebody is only by number or keyed hash, and has no free text about a person.
 */
export const requestEventSchemas = {
  PrivacyRequestReceived: z.strictObject({
    ...aboutRequest.shape,
    kind: z.enum(REQUEST_KINDS),
    /** Either: a customer, or the keyed hashes of an address that is no customer's, the current one first. */
    customerId: id.optional(),
    emailKeys: z.array(z.string()).min(1).optional(),
    channel: z.enum(REQUEST_CHANNELS),
    /** The day it came in, from which the time limit runs. */
    receivedOn: z.iso.date(),
  }),
  RequesterIdentified: z.strictObject({ ...aboutRequest.shape, how: z.enum(IDENTITY_CHECKS) }),
  /** `toldOn`: when the person was told that it takes longer. */
  PrivacyRequestExtended: z.strictObject({
    ...aboutRequest.shape,
    ground: z.enum(EXTENSION_GROUNDS),
    toldOn: z.iso.date(),
    dueOn: z.iso.date(),
  }),
  PrivacyRequestApproved: z.strictObject({ ...aboutRequest.shape, expiresAt: z.iso.datetime() }),
  /** Nobody approves: an emergency, or the store does not want it. */
  ApprovalWaived: z.strictObject({ ...aboutRequest.shape, reason: z.string().min(1) }),
  LegalHoldPlaced: z.strictObject({ ...aboutRequest.shape, ground: z.enum(HOLD_GROUNDS) }),
  LegalHoldReleased: aboutRequest,
  PrivacyRequestRefused: z.strictObject({ ...aboutRequest.shape, ground: z.enum(REFUSAL_GROUNDS) }),
  /** Written before anything is done. `approval`: on what footing. */
  ExecutionBegun: z.strictObject({ ...aboutRequest.shape, approval: z.enum(['given', 'waived', 'not-required']) }),
  /** `sha256`: of the file that was handed out. `eventsInClear`: from before encryption, which an erasure leaves. */
  PrivacyRequestDone: z.strictObject({
    ...aboutRequest.shape,
    outcome: z.enum(['erased', 'handed-out', 'carried-out']),
    sha256: z.string().optional(),
    eventsInClear: z.int().nonnegative().optional(),
  }),
  ErasureStepDone: z.strictObject({ ...aboutRequest.shape, step: z.enum(ERASURE_STEPS) }),
} as const

/** Streams `privacyNotes-<id>` (or the keyed hash of an address): what officers wrote about a person's requests. */
export const noteEventSchemas = {
  PrivacyNoteWritten: z.strictObject({ text: personalText }),
} as const
