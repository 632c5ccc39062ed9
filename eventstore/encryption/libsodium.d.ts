/** The part of libsodium's raw build (WebAssembly, without its wrappers) that is used here: the package brings no types. */
declare module 'libsodium' {
  export interface Libsodium {
    /** The module's memory. A new view whenever the memory has grown. */
    readonly HEAPU8: Uint8Array
    /** @returns -1 where the library can't be used */
    _sodium_init(): number
    /** @returns an address in the memory; 0 where there is no room */
    _malloc(size: number): number
    _free(address: number): void
    /** Lengths are 64-bit integers, as two halves. @returns 0 where it is done */
    _crypto_aead_xchacha20poly1305_ietf_encrypt(
      ciphertext: number,
      ciphertextLengthAddress: number,
      message: number,
      messageLength: number,
      messageLengthHigh: number,
      authenticated: number,
      authenticatedLength: number,
      authenticatedLengthHigh: number,
      unusedSecretNonce: number,
      nonce: number,
      key: number,
    ): number
    /** @returns 0 where the tag is right; else nothing is decrypted */
    _crypto_aead_xchacha20poly1305_ietf_decrypt(
      message: number,
      messageLengthAddress: number,
      unusedSecretNonce: number,
      ciphertext: number,
      ciphertextLength: number,
      ciphertextLengthHigh: number,
      authenticated: number,
      authenticatedLength: number,
      authenticatedLengthHigh: number,
      nonce: number,
      key: number,
    ): number
  }
  export default function createLibsodium(options: { getRandomValue(): number }): Promise<Libsodium>
}
