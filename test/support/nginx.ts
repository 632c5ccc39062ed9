/** A real nginx in front of the gateway, as a proxy that stores answers. */
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { freePort } from './ports.ts'
import { until } from './until.ts'

/** Debian installs it where only root looks for programs. */
const FOLDERS = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin']
const program = FOLDERS.map((folder) => join(folder, 'nginx')).find((path) => existsSync(path))

/** Why tests that need it are skipped; false: they run. */
export const withoutNginx: string | false = program ? false : 'nginx is not installed (Debian: apt-get install nginx)'

/** As docs/caching-and-compression.md shows it. */
const configuration = (folder: string, port: number, upstream: string) => `
daemon off;
master_process off;
pid ${folder}/nginx.pid;
error_log stderr warn;
events { worker_connections 512; }
http {
  access_log off;
  ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/${name};`).join(' ')}
  proxy_cache_path ${folder}/answers keys_zone=answers:1m;
  upstream gateway { server ${new URL(upstream).host}; keepalive 64; }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://gateway;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_cache answers;
      proxy_cache_key $request_uri;
      proxy_cache_revalidate on;
      add_header X-Cache $upstream_cache_status always;
    }
  }
}`

/**
 * Starts nginx.
 * @param folder an empty folder for its files
 * @param upstream the gateway's origin
 * @returns its origin, and a function that stops it
 */
export async function startNginx(folder: string, upstream: string) {
  if (program === undefined) throw new Error(String(withoutNginx))
  const port = await freePort()
  mkdirSync(folder, { recursive: true })
  const path = join(folder, 'nginx.conf')
  writeFileSync(path, configuration(folder, port, upstream))
  const child = spawn(program, ['-p', folder, '-e', 'stderr', '-c', path], { stdio: ['ignore', 'ignore', 'pipe'] })
  let output = ''
  child.stderr.on('data', (chunk: Buffer) => {
    output += chunk
  })
  const url = `http://127.0.0.1:${port}`
  const stop = () => void child.kill('SIGKILL')
  await until('nginx answers', () => {
    if (child.exitCode !== null) throw new Error(`nginx ends: ${output}`)
    return fetch(`${url}/healthz`).then(
      () => true,
      () => false,
    )
  }).catch((error) => {
    stop()
    throw error
  })
  return { url, stop }
}
