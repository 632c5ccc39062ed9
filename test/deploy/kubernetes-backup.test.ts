/** The jobs of deploy/kubernetes that back up event stores: their scripts are run, on files of this machine. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'
import { temporaryFolder } from '../support/graph.ts'
import { get, podOf, sources } from './manifests.ts'

t.test('the backup copies the files in an order that makes it whole, and forgets old ones', async (t) => {
  for (const name of ['backup-log', 'backup-keys']) {
    const [container] = podOf(get(sources(), 'CronJob', name))?.spec.containers ?? []
    const [shell = '', flags = '', script = ''] = container?.command ?? []
    const folder = await temporaryFolder(t)
    const files = ['chaser.chk', 'writer.chk', 'chunk-000000.000000', 'index/indexmap', 'index/stream-existence/a.chk']
    for (const file of [...files, 'backup/2026-01-31T010000/x', 'backup/lost+found/x', 'backup/unfinished/x']) {
      mkdirSync(dirname(join(folder, file)), { recursive: true })
      writeFileSync(join(folder, file), file)
    }
    const old = Date.now() / 1000 - 8 * 86_400
    for (const each of ['2026-01-31T010000', 'lost+found']) utimesSync(join(folder, 'backup', each), old, old)
    const here = script.replaceAll('/backup', join(folder, 'backup')).replace('cd /data', `cd ${folder}`)
    // What is copied, in order.
    const shown = here.replaceAll(/-exec cp/g, '-exec cp --verbose')
    const { status, stdout, stderr } = spawnSync(shell, [flags, shown], { encoding: 'utf8' })
    t.equal(status, 0, stderr)
    const copied = [...stdout.matchAll(/^'(?:\.\/)?([^']+)' ->/gm)].map(([, file]) => file)
    const [index, others, checkpoints, chunk] = [copied[0], copied[1], copied.slice(2, 4), copied[4]]
    t.same([index, others], ['index/stream-existence/a.chk', 'index/indexmap'])
    t.same([checkpoints.toSorted(), chunk], [['chaser.chk', 'writer.chk'], 'chunk-000000.000000'])
    const [made = '', ...rest] = readdirSync(join(folder, 'backup')).toSorted()
    t.same(rest, ['lost+found'], 'the old one and the unfinished one are gone, and what is none stays')
    t.equal(existsSync(join(folder, 'backup', made, 'x')), false)
    t.equal(readFileSync(join(folder, 'backup', made, 'truncate.chk'), 'utf8'), 'chaser.chk')

    // Where a file can't be copied.
    rmSync(join(folder, 'backup', made), { recursive: true })
    const full = here.replaceAll('-exec cp -t', `-exec sh -c 'exit 1' --`)
    t.not(spawnSync(shell, [flags, full]).status, 0, 'the job fails')
    t.same(
      readdirSync(join(folder, 'backup')).toSorted(),
      ['lost+found', 'unfinished'],
      'and nothing looks like a backup',
    )
  }
  const at = (name: string) => get(sources(), 'CronJob', name).spec.schedule.split(' ')[1]
  t.ok(Number(at('backup-log')) < Number(at('backup-keys')), 'the keys come after the log')
})
