/** Which URLs are of EventStoreDB or KurrentDB. Apart from url.ts, which loads gRPC. */

export const KURRENTDB_URLS = 'kurrentdb://…, kurrent://…, kdb://…, esdb://… (each also with +discover)'

/** The scheme of a connection string; its second group: the nodes say which nodes there are. */
export const SCHEME = /^(esdb|kurrentdb|kurrent|kdb)(\+discover)?:\/\//

/** Whether the URL is a connection string of EventStoreDB or KurrentDB. */
export const isKurrentDbUrl = (url: string): boolean => SCHEME.test(url)
