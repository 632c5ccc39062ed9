/** Recognises connection strings of EventStoreDB and KurrentDB. Separate from url.ts, because that one loads gRPC. */

export const KURRENTDB_URLS = 'kurrentdb://…, kurrent://…, kdb://…, esdb://… (each also with +discover)'

/** The scheme of a connection string. The second group is `+discover`: the nodes of the cluster are discovered. */
export const SCHEME = /^(esdb|kurrentdb|kurrent|kdb)(\+discover)?:\/\//

/** Whether the URL is a connection string of EventStoreDB or KurrentDB. */
export const isKurrentDbUrl = (url: string): boolean => SCHEME.test(url)
