/** A worker that is paused for 30 s, as a virtual machine may be: the others take over, and it does no harm when it wakes. */
import '../support/needs-redis.ts'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { startRedis } from '../support/redis.ts'
import { startService } from './service.ts'

async function pause(t: Test, modes: readonly ('group' | 'catch-up')[]): Promise<void> {
  const redis = await startRedis(t)
  const service = await startService(t, { readModelUrl: redis.url, modes })
  await service.under(500)
  service.projections[0]?.process().child.kill('SIGSTOP')
  await service.under(1_000)
  service.pace(1_000)
  await delay(28_000)
  service.pace(100)
  await service.under(1_000)
  service.projections[0]?.process().child.kill('SIGCONT')
  await service.under(1_000)
  await service.check(t)
}

// Both at once: most of it is waiting.
t.test('in a group, and alone', (t) => Promise.all([pause(t, ['group', 'group']), pause(t, ['catch-up'])]))
