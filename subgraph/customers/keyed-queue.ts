/** Runs the tasks of one key in sequence, and tasks of different keys concurrently. */
export interface KeyedQueue<K> {
  run<T>(key: K, task: () => Promise<T>): Promise<T>
}

export function createKeyedQueue<K>(): KeyedQueue<K> {
  const tails = new Map<K, Promise<unknown>>()
  return {
    run(key, task) {
      const before = tails.get(key)
      const result = before === undefined ? task() : before.then(task, task)
      const forget = () => {
        if (tails.get(key) === over) tails.delete(key)
      }
      const over: Promise<void> = result.then(forget, forget)
      tails.set(key, over)
      return result
    },
  }
}
