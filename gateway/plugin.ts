/**
 * The interface of a gateway plugin. A plugin imports only these types (`import type`), and its default export is a
 * {@link GatewayPlugin} or a function that returns one ({@link CreatePlugin}). docs/plugins.md is the guide.
 */
import type { IncomingHttpHeaders } from 'node:http'
import type { GraphQLFormattedError } from 'graphql'
import type { Registry } from 'prom-client'

/** A plugin: the hooks that it has, and how long each may take. */
export interface GatewayPlugin {
  /** What logs and metrics call it. Default: its file's name. */
  readonly name?: string
  /** How long one call of a hook or of a signer may take, in milliseconds, 1 to 60,000. Default 1,000. */
  readonly timeoutMs?: number
  /** Before the body of an HTTP request is looked at: once for each request, also for a batch. */
  readonly onRequest?: Hook<PluginRequest>
  /** Before an operation is executed; its document is valid, its token has been verified. */
  readonly onOperation?: Hook<PluginOperation>
  /** Before a subgraph is called. */
  readonly onSubgraphRequest?: Hook<PluginSubgraphRequest>
  /** Before the answer to an operation is sent, also if it was rejected. */
  readonly onResponse?: Hook<PluginResponse>
  /** When the gateway has stopped: the plugin closes what it has opened. */
  readonly close?: () => void | Promise<void>
}

/** Creates a plugin when the gateway starts. If it throws, the gateway does not start. */
export type CreatePlugin = (environment: PluginEnvironment) => GatewayPlugin | Promise<GatewayPlugin>

export interface PluginEnvironment {
  /** The gateway's own Prometheus registry: metrics in it are served and exported with the gateway's. */
  readonly registry: Registry
  /** The gateway's log. Never log tokens or personal data. */
  readonly log: {
    info(details: object, message: string): void
    warn(details: object, message: string): void
    error(details: object, message: string): void
  }
}

/** Synchronous hooks are the cheapest: there is no timer and no extra turn of the event loop. */
export type Hook<Argument> = (argument: Argument) => void | Promise<void>

/** What the hooks of one HTTP request share. It starts empty. */
export type PluginContext = Record<string, unknown>

/** Why a plugin refuses something. It is shown to the client as it is. */
export interface Rejection {
  readonly message: string
  /** `extensions.code`: capitals, digits and _. Default `FORBIDDEN`. */
  readonly code?: string
  /** The HTTP status, 400 to 599, if the whole request is refused. Default 403. */
  readonly status?: number
}

/** Ends the hook and refuses what it is about; no further hook but onResponse is called. */
type Reject = (rejection: Rejection) => never

export interface PluginRequest {
  /** The request's id: `x-correlation-id` of the answer and of every subgraph call. */
  readonly id: string
  readonly method: 'GET' | 'POST'
  /** The client's headers, in lower case. */
  readonly headers: Readonly<IncomingHttpHeaders>
  /** The client's address. */
  readonly ip: string
  readonly context: PluginContext
  /**
   * Replaces a header of the client for everything that follows: the token's verification, FORWARD_HEADERS, other
   * plugins. `undefined` removes it.
   */
  setHeader(name: string, value: string | undefined): void
  reject: Reject
}

/** An operation, however the client sent it: as a document, as a persisted query, in a batch. */
export interface OperationInfo {
  readonly name: string | undefined
  readonly type: 'query' | 'mutation' | 'subscription'
  /** SHA-256 (hexadecimal) of the document as the gateway plans it: without literals, whitespace and comments. */
  readonly hash: string
  /**
   * What it selects, as schema coordinates: `Query.customer`, `Customer.email`. A field of an interface is listed for
   * the interface and for each of its types. Fields that `@skip` and `@include` leave out are listed, too.
   */
  readonly fields: readonly string[]
}

export interface PluginOperation extends OperationInfo {
  readonly id: string
  readonly headers: Readonly<IncomingHttpHeaders>
  /** The verified token's claims; undefined for a guest. They may belong to a token that has just been revoked. */
  readonly claims: Readonly<Record<string, unknown>> | undefined
  readonly context: PluginContext
  reject: Reject
}

export interface PluginSubgraphRequest {
  readonly id: string
  /** The subgraph's name in the supergraph. */
  readonly subgraph: string
  /** The exact bytes that are sent: JSON with `query`, `variables` and `operationName`. Don't change them. */
  readonly body: Buffer
  readonly operation: OperationInfo
  readonly context: PluginContext
  /** The value of a header as it would be sent. @param name in any case */
  header(name: string): string | undefined
  /** Sets a header of this call. `undefined` removes it. Calls whose headers differ are never shared. */
  setHeader(name: string, value: string | undefined): void
  /**
   * Has the call signed right before it is sent, and again before each retry. Calls are shared between guests only if
   * they have the same signer: define it once, outside of the hook, unless it depends on the request.
   */
  sign(signer: Signer): void
  /** Refuses this call: its fields are null, with an error. */
  reject: Reject
}

/** Returns the headers to add to a call. */
export type Signer = (call: SignedCall) => Readonly<Record<string, string>> | Promise<Readonly<Record<string, string>>>

export interface SignedCall {
  readonly subgraph: string
  /** The exact bytes that are sent. */
  readonly body: Buffer
  /** 1 for the first attempt, then 2, 3 for the retries of a query. */
  readonly attempt: number
  /** The value of a header as it is sent. @param name in any case */
  header(name: string): string | undefined
}

export interface PluginResponse {
  readonly id: string
  /** Undefined if the request was refused before its operation was known. */
  readonly operation: OperationInfo | undefined
  readonly context: PluginContext
  /** `rejected`: not executed. `errors`: executed, with errors. `cancelled`: the client has gone away. */
  readonly outcome: 'success' | 'errors' | 'rejected' | 'failed' | 'cancelled'
  /** The errors that the client gets; internal ones are already masked. */
  readonly errors: readonly GraphQLFormattedError[]
  /** Replaces the errors. Data can't be changed; without data, at least one error must be left. */
  setErrors(errors: readonly GraphQLFormattedError[]): void
  /** Sets a header of the HTTP answer. In a batch, the last one that is set counts. */
  setHeader(name: string, value: string): void
  /** Milliseconds since the operation's arrival, of those for its plan, and of all its subgraph calls together. */
  readonly metrics: {
    readonly ms: number
    readonly planMs: number
    readonly subgraphMs: number
    /** How many subgraph answers were received. */
    readonly subgraphAnswers: number
  }
}
