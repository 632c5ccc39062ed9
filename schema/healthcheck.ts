/** The health check of a container: exit code 0 where the URL answers 200 within three seconds. `node schema/healthcheck.ts URL` */
const [url = ''] = process.argv.slice(2)
try {
  const response = await fetch(url, { signal: AbortSignal.timeout(3_000) })
  if (!response.ok) console.error(`${url} answers ${response.status}`)
  process.exitCode = response.ok ? 0 : 1
} catch (error) {
  console.error(
    `${url} does not answer: ${((error as Error).cause as Error | undefined)?.message ?? (error as Error).message}`,
  )
  process.exitCode = 1
}
