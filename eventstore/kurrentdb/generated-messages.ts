/**
 * The messages that the official client generates from the server's protocol. They have no `exports` map and no types.
 */
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)
const generated = '@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1'
// biome-ignore-start lint/suspicious/noExplicitAny: generated code, typed where it is used
export const streamsMessages = require(`${generated}/streams_pb.js`) as any
export const sharedMessages = require(`${generated}/shared_pb.js`) as any
export const gossipMessages = require(`${generated}/gossip_pb.js`) as any
export const { StreamsClient, StreamsService } = require(`${generated}/streams_grpc_pb.js`) as any
export const { GossipClient } = require(`${generated}/gossip_grpc_pb.js`) as any
export const { ServerFeaturesClient } = require(`${generated}/serverfeatures_grpc_pb.js`) as any
/** The features of a server, in the form that the client expects. */
export const { ServerFeatures } = require('@kurrent/kurrentdb-client/dist/Client/ServerFeatures.js') as any
// biome-ignore-end lint/suspicious/noExplicitAny: see above
