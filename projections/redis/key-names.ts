/** The names of the read model's keys; read-model.ts describes their contents. */

/** Keys of all generations. */
export interface SharedKeys {
  readonly generations: string
  readonly pendingScrubs: string
  /** The marks of all customers, as a pattern. */
  readonly marks: string
  mark(id: number): string
  /** A key on the server that has the hash tag. */
  probe(tag: string): string
  /** Whether a key with the prefix of the first generation is one of these. */
  has(key: string): boolean
}

/** Keys of one generation. */
export interface GenerationKeys {
  readonly checkpoint: string
  readonly newest: string
  readonly parked: string
  /** The prefix of the documents and of the keys above. */
  readonly ownBeginning: string
  /** The prefix of the seals. */
  readonly sealBeginning: string
  document(id: number): string
  /** The seal in the slot of one of the seals' hash tags. */
  seal(tag: string): string
}

export function sharedKeys(prefix: string): SharedKeys {
  const generations = `${prefix}:{generation}`
  const pendingScrubs = `${prefix}:{owed-scrubs}`
  return {
    generations,
    pendingScrubs,
    marks: `${prefix}:{*}:revision`,
    mark: (id) => `${prefix}:{${id}}:revision`,
    probe: (tag) => `${prefix}:probe:{${tag}}`,
    has: (key) => key === generations || key === pendingScrubs || key.endsWith('}:revision'),
  }
}

export function generationKeys(prefix: string, generation: number): GenerationKeys {
  const own = generation === 1 ? prefix : `${prefix}:${generation}`
  return {
    checkpoint: `${own}:{checkpoint}`,
    newest: `${own}:{newest}`,
    parked: `${own}:{parked}`,
    ownBeginning: `${own}:{`,
    sealBeginning: `${own}:seal:{`,
    document: (id) => `${own}:{${id}}`,
    seal: (tag) => `${own}:seal:{${tag}}`,
  }
}
