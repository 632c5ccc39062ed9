import { Channel, Metadata } from '@grpc/grpc-js'

const ACCEPTED = 'grpc-accept-encoding'

/** grpc-js writes into the metadata of each call, late, that it accepts gzip. No option changes that. */
class PlainMetadata extends Metadata {
  override set(...[key, value]: Parameters<Metadata['set']>): void {
    super.set(key, key === ACCEPTED ? 'identity' : value)
  }

  override clone(): PlainMetadata {
    return plain(this)
  }
}

function plain(metadata: Metadata): PlainMetadata {
  const copy = new PlainMetadata(metadata.getOptions())
  copy.merge(metadata)
  return copy
}

/**
 * A channel whose calls are answered without compression. KurrentDB from 25.1 on compresses each message by itself for
 * whoever accepts it, and to unpack them costs a reader of the log ten times what all the rest costs.
 */
export class PlainChannel extends Channel {
  override createCall(...options: Parameters<Channel['createCall']>): ReturnType<Channel['createCall']> {
    const call = super.createCall(...options)
    const start = call.start.bind(call)
    call.start = (metadata, listener) => start(plain(metadata), listener)
    return call
  }
}
