/** Executes plans with compiled functions: one for the fetches, one for each set of conditions for the answer. */
import { type DocumentNode, executeSync, Kind, type OperationDefinitionNode, OperationTypeNode } from 'graphql'
import { RequestError } from '../errors.ts'
import { answerText, type ExecutionAnswer, type Executor, type PlannedOperation } from '../executor.ts'
import type { SubgraphClient } from '../subgraph-client.ts'
import type { LoadedSupergraph } from '../supergraph.ts'
import { complete } from './complete.ts'
import { type Execution, NOTHING_YET } from './fetch.ts'
import { compilePlan } from './plan.ts'
import { compileSerialiser } from './serialise.ts'
import { conditionVariables, type Field, type Shape, shapeOf, unreachableFields } from './shape.ts'

/** Combinations of an operation's conditions that are kept compiled. */
const MAX_VARIANTS = 64

type Variant = {
  readonly shape: Shape
  readonly write: (data: unknown) => string | undefined
}

/**
 * An executor that compiles each operation once. What it answers is what Apollo's answers, which the tests hold it to, but
 * for what that one gets wrong: see the tests.
 */
export function createCompiledExecutor(
  supergraph: LoadedSupergraph,
  subgraphs: Readonly<Record<string, SubgraphClient>>,
  maxAnswerBytes = Number.POSITIVE_INFINITY,
): Executor {
  const { schema } = supergraph
  const environment = { schema: supergraph.fullSchema, subgraphs }

  return (planned) => {
    const { document, node, plan, isDenied } = planned
    const { run, mayRepeat } = compilePlan(environment, plan)
    const conditions = conditionVariables(document)
    const rootName = schema.getRootType(node.operation)?.name
    const introspection = introspector(supergraph, planned)
    /** Of the execution whose answer is being written: that happens in one go. */
    let variables: Execution['request']['variables'] = {}
    const introspect = (field: Field) => introspection(field, variables)
    const variants = new Map<string, Variant>()

    function variantOf(values: Execution['request']['values']): Variant {
      let key = ''
      for (const name of conditions) key += values[name] === true ? '1' : '0'
      let variant = variants.get(key)
      if (!variant) {
        const shape = shapeOf(schema, document, node, (name) => values[name] === true, isDenied)
        variant = {
          shape,
          write: compileSerialiser(schema, shape, (field) => JSON.stringify(introspect(field)), maxAnswerBytes),
        }
        if (variants.size >= MAX_VARIANTS) variants.clear()
        variants.set(key, variant)
      }
      return variant
    }

    function answer({ data, errors, request }: Execution): ExecutionAnswer {
      const { shape, write } = variantOf(request.values)
      variables = request.variables
      const unreachable = run ? [] : unreachableFields(shape, rootName)
      if (unreachable.length > 0) return answerText(null, unreachable)
      // A subgraph may call its root type by another name.
      if (data.__typename !== undefined) data.__typename = rootName
      const text = write(data)
      if (text === undefined) {
        const completed = complete(schema, supergraph.fullSchema, shape, data, introspect, errors, maxAnswerBytes)
        return answerText(completed.data, [...errors, ...completed.errors])
      }
      if (errors.length === 0) return { text: `{"data":${text}}`, hasErrors: false }
      return { text: `{"data":${text},"errors":${JSON.stringify(errors)}}`, hasErrors: true }
    }

    return async (request) => {
      const flights: Execution['flights'] = mayRepeat ? new Map() : undefined
      const execution: Execution = { request, errors: [], data: NOTHING_YET, flights }
      try {
        await run?.(execution)
        return answer(execution)
      } catch (error) {
        if (error instanceof RequestError) throw error
        return answerText(null, [request.mask(error)])
      }
    }
  }
}

/** Answers `__schema` and `__type` from the schema that clients see. */
function introspector({ schema }: LoadedSupergraph, { document, node, declared }: PlannedOperation) {
  const constant = new Map<string, unknown>()
  return ({ key, nodes }: Field, variableValues: Readonly<Record<string, unknown>>): unknown => {
    const isConstant = declared.length === 0
    if (isConstant && constant.has(key)) return constant.get(key)
    const operation: OperationDefinitionNode = {
      ...node,
      operation: OperationTypeNode.QUERY,
      variableDefinitions: declared,
      selectionSet: { kind: Kind.SELECTION_SET, selections: nodes },
    }
    const fragments = document.definitions.filter(({ kind }) => kind === Kind.FRAGMENT_DEFINITION)
    const asked: DocumentNode = { kind: Kind.DOCUMENT, definitions: [operation, ...fragments] }
    const value = executeSync({ schema, document: asked, rootValue: {}, variableValues }).data?.[key] ?? null
    if (isConstant) constant.set(key, value)
    return value
  }
}
