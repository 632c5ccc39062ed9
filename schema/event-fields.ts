/** Kinds of fields that several events have. */
import { z } from 'zod'

/**
 * Marks a field that is personal data. Stored, it is encrypted with the person's own key
 * (eventstore/encryption/encrypted-log.ts); where the key has been destroyed, `erasedValue` (events.ts) stands for it.
 */
export const personal = <S extends z.ZodType>(schema: S): S => schema.meta({ personal: true })

export const personalText = personal(z.string())
export const optionalPersonalText = personal(z.string().nullable())
export const id = z.int().positive()
export const count = z.int().nonnegative()

/** A place in the log. */
export const position = z.strictObject({ commit: z.string(), prepare: z.string() })
