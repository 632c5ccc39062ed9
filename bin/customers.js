#!/usr/bin/env node
/** Starts the command line. Plain JavaScript, so that a Node which can't run TypeScript says so in one line. */
if (process.features.typescript) {
  const { main } = await import('./customers.ts')
  await main(process.argv.slice(2))
} else {
  console.error(
    `error: Node ${process.versions.node} can't run this: Node 24 is needed. \`npm ci\` brings it (not with --omit=dev or --ignore-scripts); otherwise install it and run the command with it.`,
  )
  process.exitCode = 1
}
