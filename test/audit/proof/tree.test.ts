/** The tree and its paths: the vectors of Certificate Transparency, and any tree against the definition of RFC 6962. */
import fc from 'fast-check'
import t from 'tap'
import { openLeafCache } from '../../../audit/proof/leaf-cache.ts'
import { createTree, edgeLength, leafHash, nodeHash, rootFromPath, rootOf } from '../../../audit/proof/tree.ts'
import { temporaryFolder } from '../../support/graph.ts'

const LEAVES = ['', '00', '10', '2021', '3031', '40414243', '5051525354555657', '606162636465666768696a6b6c6d6e6f'].map(
  (hex) => leafHash(Buffer.from(hex, 'hex')),
)
const ROOTS = [
  'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
]
const PATHS: readonly (readonly [index: number, size: number, path: readonly string[]])[] = [
  [0, 1, []],
  [
    0,
    8,
    [
      '96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7',
      '5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e',
      '6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4',
    ],
  ],
  [
    5,
    8,
    [
      'bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b',
      'ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0',
      'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
    ],
  ],
  [2, 3, ['fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125']],
  [
    1,
    5,
    [
      '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
      '5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e',
      'bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b',
    ],
  ],
]
const hex = (hash: Buffer | undefined) => hash?.toString('hex')

t.test('roots of the vectors, from any place to go on from', async (t) => {
  for (const [size, root] of ROOTS.entries()) {
    const tree = createTree()
    for (const leaf of LEAVES.slice(0, size)) tree.add(leaf)
    t.equal(hex(tree.root()), root, `${size} leaves`)
    t.equal(tree.edge.length, edgeLength(size))
    const later = createTree({ size, edge: tree.edge })
    for (const leaf of LEAVES.slice(size)) later.add(leaf)
    t.equal(hex(later.root()), ROOTS[8], `gone on from ${size}`)
    t.equal(hex(rootOf(tree.edge)), root, 'the edge it went on from is as it was')
  }
})

const at = (index: number) => ({ commit: BigInt(index * 10), prepare: BigInt(index * 10) })

t.test('paths of the vectors', async (t) => {
  const cache = openLeafCache(await temporaryFolder(t))
  t.teardown(cache.close)
  for (const [index, leaf] of LEAVES.entries()) cache.add(leaf, at(index))
  for (const [index, size, path] of PATHS) {
    const made = cache.path(index, size)
    t.same(made.map(hex), path, `leaf ${index} of ${size}`)
    t.equal(hex(rootFromPath(LEAVES[index] as Buffer, index, size, made)), ROOTS[size])
  }
})

/** RFC 6962, 2.1, as it is written there. */
function definedRoot(leaves: readonly Buffer[]): Buffer {
  if (leaves.length === 1) return leaves[0] as Buffer
  let k = 1
  while (k * 2 < leaves.length) k *= 2
  return nodeHash(definedRoot(leaves.slice(0, k)), definedRoot(leaves.slice(k)))
}

t.test('any tree: its root is the one of the definition, and each leaf has one path', async (t) => {
  const cache = openLeafCache(await temporaryFolder(t))
  t.teardown(cache.close)
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 70 }), async (size) => {
      const leaves = Array.from({ length: size }, (_, index) => leafHash(String(index)))
      const tree = createTree()
      cache.clear()
      for (const [index, leaf] of leaves.entries()) {
        tree.add(leaf)
        cache.add(leaf, at(index))
      }
      const root = hex(definedRoot(leaves))
      if (hex(tree.root()) !== root || hex(cache.root(size)) !== root) return false
      for (const [index, leaf] of leaves.entries()) {
        const path = cache.path(index, size)
        for (let other = 0; other < size; other++) {
          const leads = hex(rootFromPath(leaf, other, size, path)) === root
          if (leads !== (other === index)) return false
        }
        if (rootFromPath(leaf, index, size, [...path, leaf]) !== undefined) return false
      }
      return true
    }),
    { numRuns: 20 },
  )
})

t.test('what is no place in the tree has no root', async (t) => {
  for (const [index, size] of [
    [-1, 3],
    [3, 3],
    [0.5, 3],
    [0, 0],
    [Number.NaN, 3],
  ] as const) {
    t.equal(rootFromPath(LEAVES[0] as Buffer, index, size, []), undefined)
  }
})
