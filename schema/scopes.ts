/** The scopes of service tokens. */
export const SCOPES = {
  'customers:read': 'every customer, as an entity that another subgraph mentions',
  'customers:audit': "every customer's history and former states",
  'tokens:introspect': 'whether any token is still active',
} as const

export type Scope = keyof typeof SCOPES
