/** Promises that resolve once a condition holds. Whoever changes what the conditions depend on calls `check`. */
export class Conditions {
  #pending: { readonly holds: () => boolean; readonly resolve: () => void; readonly reject: (e: Error) => void }[] = []

  /** Resolves at once where the condition holds already. @throws the error given to `reject` */
  until(holds: () => boolean): Promise<void> {
    if (holds()) return Promise.resolve()
    return new Promise((resolve, reject) => this.#pending.push({ holds, resolve, reject }))
  }

  check(): void {
    const met = this.#pending.filter(({ holds }) => holds())
    if (met.length === 0) return
    this.#pending = this.#pending.filter((each) => !met.includes(each))
    for (const { resolve } of met) resolve()
  }

  reject(error: Error): void {
    for (const { reject } of this.#pending) reject(error)
  }
}
