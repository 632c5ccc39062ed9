/**
 * Loaded before each test file: the processes that a test starts are what they are in production, without tap's
 * instrumentation, which would nearly double what they cost.
 */
import processOnSpawn from 'process-on-spawn'

processOnSpawn.addListener((spawned: { env: Record<string, string | undefined> }) => {
  const { NODE_OPTIONS: _, ...env } = spawned.env
  spawned.env = env
})
