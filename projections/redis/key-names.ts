/** The names of the read model's keys; read-model.ts says what lies in each. */

/** Keys of all generations. */
export interface SharedKeys {
  readonly generations: string
  readonly owedScrubs: string
  /** The marks of all customers, as a pattern. */
  readonly marks: string
  mark(id: number): string
  /** A key of the server that has the hash tag. */
  probe(tag: string): string
  /** Whether a key that begins like one of the first generation is one of these. */
  has(key: string): boolean
}

/** Keys of one generation. */
export interface GenerationKeys {
  readonly checkpoint: string
  readonly newest: string
  readonly parked: string
  /** What the names of the documents, and of the keys above, begin with. */
  readonly ownBeginning: string
  /** What the names of the seals begin with. */
  readonly sealBeginning: string
  document(id: number): string
  /** The seal in the slot of one of the seals' hash tags. */
  seal(tag: string): string
}

export function sharedKeys(prefix: string): SharedKeys {
  const generations = `${prefix}:{generation}`
  const owedScrubs = `${prefix}:{owed-scrubs}`
  return {
    generations,
    owedScrubs,
    marks: `${prefix}:{*}:revision`,
    mark: (id) => `${prefix}:{${id}}:revision`,
    probe: (tag) => `${prefix}:probe:{${tag}}`,
    has: (key) => key === generations || key === owedScrubs || key.endsWith('}:revision'),
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
