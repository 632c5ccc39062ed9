/** Containers without an engine: each is a process of this machine, with the environment and the files of its manifest alone. */

import type { Test } from 'tap'
import { KEYS } from '../support/keys.ts'
import { freePort } from '../support/ports.ts'
import { type Started, startProcess } from '../support/processes.ts'

/** Each process, the variable that says where it listens, and where that is in a container. */
const PORTS = {
  gateway: ['GATEWAY_PORT', 4000],
  subgraph: ['SUBGRAPH_PORT', 4001],
  projections: ['PROJECTIONS_PORT', 4002],
  samples: ['SAMPLES_PORT', 4003],
  mail: ['MAIL_PORT', 4004],
  console: ['CONSOLE_PORT', 4005],
  metrics: ['GATEWAY_METRICS_PORT', 9464],
} as const

/** Set by the test's own environment, which no container has. */
const NOT_SET = ['EVENTSTORE_URL', 'READMODEL_URL', 'DATA_DIR', ...Object.keys(KEYS)]

export interface Containers {
  /** The port of this machine that stands for a container's, from its start or from {@link reserve} on. */
  port(name: string): number
  reserve(name: string): Promise<number>
  /** A text of a manifest as it is on this machine: paths, addresses. */
  outside(text: string): string
  /** Starts what a container would: its command, with the variables of its manifest and of the image. */
  start(name: string, command: readonly string[], env: Readonly<Record<string, string>>): Promise<Started>
}

/**
 * @param workspace where the processes run: the folder of the image, which is read-only
 * @param files the files and folders of this machine that are mounted, by their path in the container
 * @param translate what else stands for something of this machine: the servers of stores
 */
export function createContainers(
  t: Test,
  workspace: string,
  files: Readonly<Record<string, string>>,
  translate: (text: string) => string = (text) => text,
): Containers {
  const ports = new Map<string, number>()
  const port = (name: string): number => ports.get(name) ?? 0
  /** Not before it is needed: a port that is free now may be taken soon. */
  async function reserve(name: string): Promise<number> {
    const reserved = ports.get(name) ?? (await freePort())
    ports.set(name, reserved)
    return reserved
  }
  /** What a container's network and its mounts do. */
  function outside(text: string): string {
    let mapped = translate(text)
    for (const [path, folder] of Object.entries(files)) {
      if (`${mapped}/`.startsWith(`${path}/`)) mapped = `${folder}${mapped.slice(path.length)}`
    }
    for (const [name, [, inside]] of Object.entries(PORTS)) {
      for (const host of [name, '127.0.0.1'])
        mapped = mapped.replace(`http://${host}:${inside}/`, `http://127.0.0.1:${port(name)}/`)
    }
    return mapped
  }
  return {
    port,
    reserve,
    outside,
    async start(name, command, env) {
      const given = Object.fromEntries(Object.entries(env).map(([variable, value]) => [variable, outside(value)]))
      const [variable] = PORTS[name as keyof typeof PORTS] ?? []
      const own = {
        ...(variable && { [variable]: String(await reserve(name)) }),
        ...(given.GATEWAY_METRICS_PORT && { GATEWAY_METRICS_PORT: String(await reserve('metrics')) }),
      }
      const cleared = Object.fromEntries(NOT_SET.map((each) => [each, '']))
      const [, , word = '', ...args] = command
      return startProcess(
        t,
        word,
        workspace,
        { ...cleared, NODE_ENV: 'production', ...given, ...own },
        args.map(outside),
      )
    },
  }
}
