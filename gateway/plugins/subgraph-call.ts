/** The onSubgraphRequest hook: headers and signatures of one subgraph call. */
import type { OperationInfo, PluginContext, PluginSubgraphRequest, SignedCall, Signer } from '../plugin.ts'
import type { SubgraphRequest } from '../subgraphs/client.ts'
import { checkedHeader, headerIn, withHeader } from './headers.ts'
import { type HookedRequest, Rejectable, resultOf, runSteps, type Step } from './run.ts'

/** A signer, and the plugin that it belongs to. */
interface OwnedSigner {
  readonly signer: Signer
  readonly step: Step<PluginSubgraphCall>
}

/** What the hook gets. */
export class PluginSubgraphCall extends Rejectable implements PluginSubgraphRequest {
  readonly id: string
  readonly subgraph: string
  readonly body: Buffer
  readonly operation: OperationInfo
  readonly context: PluginContext
  headers: readonly string[]
  /** What the hooks have set, in their order, as text: calls are the same only if it is. */
  changes = ''
  readonly signers: OwnedSigner[] = []
  /** The plugin whose hook is running. */
  step: Step<PluginSubgraphCall> | undefined

  constructor(
    { id }: HookedRequest,
    subgraph: string,
    { body, headers }: SubgraphRequest,
    operation: OperationInfo,
    context: PluginContext,
  ) {
    super()
    this.id = id
    this.subgraph = subgraph
    this.body = Buffer.from(body)
    this.operation = operation
    this.context = context
    this.headers = headers
  }

  readonly header = (name: string): string | undefined => headerIn(this.headers, name.toLowerCase())

  readonly setHeader = (name: string, value: string | undefined): void => {
    const lower = checkedHeader(name, value)
    this.headers = withHeader(this.headers, lower, value)
    this.changes += `\n${lower}${value === undefined ? '' : `:${value}`}`
  }

  readonly sign = (signer: Signer): void => {
    if (typeof signer !== 'function') throw new TypeError('A signer is a function.')
    if (this.step) this.signers.push({ signer, step: this.step })
  }
}

/** Numbers of signers, so that calls can be compared by them. */
const numbers = new WeakMap<Signer, number>()
let lastNumber = 0

function numberOf(signer: Signer): number {
  const known = numbers.get(signer)
  if (known !== undefined) return known
  numbers.set(signer, ++lastNumber)
  return lastNumber
}

/**
 * Runs the hook for one call.
 * @returns the request as it is to be sent
 * @throws PluginError if a plugin refuses the call or fails
 */
export async function hookedRequest(
  steps: readonly Step<PluginSubgraphCall>[],
  call: PluginSubgraphCall,
  request: SubgraphRequest,
  hooked: HookedRequest,
): Promise<SubgraphRequest> {
  for (const step of steps) {
    call.step = step
    await runSteps([step], call, hooked)
  }
  const { signers, body, subgraph, headers } = call
  const signatures = signers.map(({ signer }) => numberOf(signer)).join()
  // The body that is sent is the planned one, whatever a plugin does to its copy: a shared call's is everybody's.
  const plain = { ...request, headers, sharedBy: `${call.changes}\n${signatures}` }
  if (signers.length === 0) return plain
  return {
    ...plain,
    async sign(sent: readonly string[], attempt: number): Promise<readonly string[]> {
      let signed = sent
      for (const { signer, step } of signers) {
        const argument: SignedCall = {
          subgraph,
          body,
          attempt,
          header: (name) => headerIn(signed, name.toLowerCase()),
        }
        const run = async () => added(signed, await signer(argument))
        signed = (await resultOf({ ...step, hook: 'sign', run }, argument, hooked)) as readonly string[]
      }
      return signed
    },
  }
}

/** @throws TypeError for headers that can't be sent */
function added(list: readonly string[], headers: unknown): readonly string[] {
  if (typeof headers !== 'object' || headers === null) throw new TypeError('A signer returns an object of headers.')
  let result = list
  for (const [name, value] of Object.entries(headers)) {
    if (typeof value !== 'string') throw new TypeError('A signer returns headers whose values are texts.')
    result = withHeader(result, checkedHeader(name, value), value)
  }
  return result
}
