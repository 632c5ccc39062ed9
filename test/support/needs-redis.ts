/** Imported first by tests that start a redis-server: without one they are left out, visibly. CI must not go without. */
import { spawnSync } from 'node:child_process'
import t from 'tap'

if (!process.env.CI && spawnSync('redis-server', ['--version']).error) {
  t.plan(0, 'redis-server is not installed (apt-get install redis-server)')
  process.exit(0)
}
