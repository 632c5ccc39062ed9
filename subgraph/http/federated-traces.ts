/**
 * Federated traces: a gateway that sends `apollo-federation-include-trace: ftv1` gets, in the answer's extensions, how
 * long each field took (Apollo's format: a Trace in protobuf, base64). Such a request is executed by graphql-js with
 * resolvers that measure the time. Any other request uses the compiled execution and has no overhead.
 */
import { google, Trace } from '@apollo/usage-reporting-protobuf'
import {
  type DocumentNode,
  defaultFieldResolver,
  type ExecutionResult,
  execute,
  type GraphQLError,
  type GraphQLResolveInfo,
  type GraphQLSchema,
  isObjectType,
  parse,
  type ResponsePath,
  specifiedRules,
  type ValidationRule,
  validate,
} from 'graphql'
import { MAX_DOCUMENT_TOKENS } from '../../runtime/document-budget.ts'

/** A GraphQL request and what its resolvers get. */
export interface TracedRequest {
  readonly query: string
  readonly operationName: string | undefined
  readonly variables: Readonly<Record<string, unknown>> | undefined
  readonly context: object
}

interface Recording {
  readonly started: bigint
  readonly nodes: Map<ResponsePath | undefined, Trace.Node>
  readonly root: Trace.Node
}

/**
 * @param schema a schema of its own, because its resolvers are changed
 * @param rules for documents, beside those of GraphQL
 * @returns what executes a request and traces it; errors are those of graphql-js, also for a document that is not valid
 */
export function createTracedExecution(schema: GraphQLSchema, rules: readonly ValidationRule[] = []) {
  const recordings = new WeakMap<object, Recording>()
  for (const type of Object.values(schema.getTypeMap())) {
    if (!isObjectType(type) || type.name.startsWith('__')) continue
    for (const field of Object.values(type.getFields())) {
      const resolve = field.resolve ?? defaultFieldResolver
      field.resolve = (source, args, context: object, info) => {
        const recording = recordings.get(context)
        if (!recording) return resolve(source, args, context, info)
        return timed(recording, info, () => resolve(source, args, context, info))
      }
    }
  }

  return async ({ query, operationName, variables, context }: TracedRequest): Promise<ExecutionResult> => {
    let document: DocumentNode
    try {
      document = parse(query, { maxTokens: MAX_DOCUMENT_TOKENS })
      const errors = validate(schema, document, [...specifiedRules, ...rules])
      if (errors.length > 0) return { errors }
    } catch (error) {
      return { errors: [error as GraphQLError] }
    }
    const root = new Trace.Node()
    const recording: Recording = { started: process.hrtime.bigint(), nodes: new Map(), root }
    recordings.set(context, recording)
    const startTime = timestamp(Date.now())
    const result = await execute({
      schema,
      document,
      contextValue: context,
      variableValues: variables ?? {},
      operationName: operationName ?? null,
    })
    for (const error of result.errors ?? []) note(recording, error)
    const trace = new Trace({
      root,
      startTime,
      endTime: timestamp(Date.now()),
      durationNs: since(recording),
      fieldExecutionWeight: 1,
    })
    const ftv1 = Buffer.from(Trace.encode(trace).finish()).toString('base64')
    return { ...result, extensions: { ...result.extensions, ftv1 } }
  }
}

function timed(recording: Recording, info: GraphQLResolveInfo, resolve: () => unknown): unknown {
  const node = nodeOf(recording, info.path)
  node.type = String(info.returnType)
  node.parentType = info.parentType.name
  if (info.fieldName !== info.path.key) node.originalFieldName = info.fieldName
  node.startTime = since(recording)
  const end = () => {
    node.endTime = since(recording)
  }
  let value: unknown
  try {
    value = resolve()
  } catch (error) {
    end()
    throw error
  }
  if (value instanceof Promise) value.then(end, end)
  else end()
  return value
}

/** The node of a place in the answer, made with those above it: elements of lists have nodes, too. */
function nodeOf(recording: Recording, path: ResponsePath | undefined): Trace.Node {
  if (path === undefined) return recording.root
  let node = recording.nodes.get(path)
  if (!node) {
    node =
      typeof path.key === 'number' ? new Trace.Node({ index: path.key }) : new Trace.Node({ responseName: path.key })
    recording.nodes.set(path, node)
    nodeOf(recording, path.prev).child.push(node)
  }
  return node
}

/** Records where the error is, and not its message, which may contain personal data. */
function note(
  { root }: Recording,
  { path = [], locations = [] }: NonNullable<ExecutionResult['errors']>[number],
): void {
  let node = root
  for (const key of path) {
    const child = node.child.find((each) => (typeof key === 'number' ? each.index === key : each.responseName === key))
    if (!child) break
    node = child as Trace.Node
  }
  const location = (locations ?? []).map(({ line, column }) => new Trace.Location({ line, column }))
  node.error.push(new Trace.Error({ message: '<masked>', location }))
}

const since = ({ started }: Recording): number => Number(process.hrtime.bigint() - started)

const timestamp = (milliseconds: number) =>
  new google.protobuf.Timestamp({
    seconds: Math.floor(milliseconds / 1000),
    nanos: (milliseconds % 1000) * 1_000_000,
  })
