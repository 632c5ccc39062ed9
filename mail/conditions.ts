/** Promises that resolve once a condition holds. Call `check` after every change of what the conditions depend on. */
export class Conditions {
  #pending: { readonly holds: () => boolean; readonly resolve: () => void; readonly reject: (e: Error) => void }[] = []

  /** Resolves at once if the condition already holds. @throws the error given to `reject` */
  until(holds: () => boolean): Promise<void> {
    if (holds()) return Promise.resolve()
    return new Promise((resolve, reject) => this.#pending.push({ holds, resolve, reject }))
  }

  check(): void {
    const fulfilled = this.#pending.filter(({ holds }) => holds())
    if (fulfilled.length === 0) return
    this.#pending = this.#pending.filter((each) => !fulfilled.includes(each))
    for (const { resolve } of fulfilled) resolve()
  }

  reject(error: Error): void {
    for (const { reject } of this.#pending) reject(error)
  }
}
