/** A registration in which most fields hold something personal. */
import type { CustomerEvent } from '../../schema/events.ts'

export const registered = (customerId: number, email: string): CustomerEvent => ({
  type: 'CustomerRegistered',
  data: {
    customerId,
    email,
    prefix: null,
    firstname: 'Zoë',
    middlename: null,
    lastname: 'Quux',
    suffix: null,
    dob: '1901-02-03',
    taxvat: 'tax-77',
    gender: 2,
    allowRemoteShoppingAssistance: false,
    groupId: 1,
    isSubscribed: false,
    customAttributes: { club: ['wool', 'felt'] },
    rewardUpdateNotification: null,
    rewardWarningNotification: null,
    createdAt: '2026-01-02T03:04:05.000Z',
    credentialsRevision: -1,
  },
})
