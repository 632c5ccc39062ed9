/** Executes plans with compiled functions: one for the fetches, one for each set of conditions for the answer. */
import {
  type DocumentNode,
  executeSync,
  type GraphQLSchema,
  isInterfaceType,
  Kind,
  type OperationDefinitionNode,
  OperationTypeNode,
} from 'graphql'
import { Cancelled } from '../cancellation.ts'
import { RequestError } from '../errors.ts'
import { conditionVariables } from '../planning/operation-corrections.ts'
import type { LoadedSupergraph } from '../planning/supergraph.ts'
import type { SubgraphClient } from '../subgraphs/client.ts'
import { withClientPaths } from './client-paths.ts'
import { type CompiledPlan, compilePlan } from './compiled-plan.ts'
import {
  answerText,
  type Execute,
  type ExecutionAnswer,
  type ExecutionRequest,
  type Executor,
  firstCategory,
  type PlannedOperation,
} from './executor.ts'
import { type Execution, type FetchEnvironment, NOTHING_YET } from './fetch.ts'
import { type Field, type Shape, shapeOf, unreachableFields } from './selection-shape.ts'
import { compileSerialiser } from './serialise.ts'
import { complete } from './value-completion.ts'

/** How many combinations of an operation's conditions are kept compiled. */
const MAX_VARIANTS = 64

/** An operation with its conditions evaluated. */
interface Variant {
  readonly plan: CompiledPlan
  readonly shape: Shape
  readonly write: (data: unknown) => string | undefined
}

const NO_PLAN: CompiledPlan = { run: undefined, mayRepeat: false }

type Values = Execution['request']['values']
/** The values of the conditions' variables by name. */
type Decisions = ReadonlyMap<string, unknown>

const NO_VARIABLES = Object.freeze({})

/**
 * An executor that compiles each operation once. Tests verify that it gives the same answers as Apollo's, except where
 * that one is wrong.
 */
export function createCompiledExecutor(
  supergraph: LoadedSupergraph,
  subgraphs: Readonly<Record<string, SubgraphClient>>,
  maxAnswerBytes = Number.POSITIVE_INFINITY,
): Executor {
  const { schema, fullSchema } = supergraph
  const environment = fetchEnvironment(supergraph, subgraphs)

  return (planned) => {
    const { document, node, internalName, isDenied } = planned
    const rootName = schema.getRootType(node.operation)?.name
    const conditions = conditionVariables(document, node)
    const introspection = introspector(supergraph, planned)
    /** The state of the execution whose answer is being written, which happens synchronously. */
    let variables: Execution['request']['variables'] = NO_VARIABLES
    const introspect = (field: Field) => introspection(field, variables)

    /**
     * @param decisions the values of the conditions' variables. The compiled operation must not retain all values of
     * one request.
     */
    function compile(decisions: Decisions): Variant {
      const isTrue = (name: string) => decisions.get(name) === true
      const isNull = (name: string) => decisions.get(name) === null
      const plan = () => compilePlan(environment, planned.plan(isTrue))
      // First, because the planner refuses operations that can't be executed at all.
      const decided = conditions.some(isNull) ? undefined : plan()
      const shape = shapeOf(schema, document, node, isTrue, isDenied, internalName, isNull)
      const isUndecided = shape.fieldsOf(rootName ?? '')?.some(({ kind }) => kind === 'undecided')
      const write = compileSerialiser(schema, shape, (field) => JSON.stringify(introspect(field)), maxAnswerBytes)
      // Nothing may be executed if its conditions can't be evaluated, above all no mutation.
      return { plan: decided ?? (isUndecided ? NO_PLAN : plan()), shape, write }
    }
    const variantOf = variants(conditions, compile)

    function answer({ shape, write, plan }: Variant, { data, errors: found, request }: Execution): ExecutionAnswer {
      variables = request.variables
      const unreachable = plan.run ? [] : unreachableFields(shape, rootName)
      if (unreachable.length > 0) return answerText(null, unreachable)
      // A subgraph's root type may have another name.
      if (data.__typename !== undefined) data.__typename = rootName
      const text = write(data)
      const errors = found.length > 0 ? withClientPaths(found, schema, shape, data) : found
      if (text === undefined) {
        const options = { schema, fullSchema, introspect, known: errors, maxLength: maxAnswerBytes }
        const completed = complete(shape, data, options)
        return answerText(completed.data, [...errors, ...completed.errors])
      }
      if (errors.length === 0) return { text: `{"data":${text}}`, hasErrors: false }
      return {
        text: `{"data":${text},"errors":${JSON.stringify(errors)}}`,
        hasErrors: true,
        errors,
        category: firstCategory(errors),
      }
    }

    const execute: Execute = async (request) => {
      const variant = variantOf(request.values)
      const flights: Execution['flights'] = variant.plan.mayRepeat ? new Map() : undefined
      const execution: Execution = { request, errors: [], data: NOTHING_YET, flights }
      try {
        await variant.plan.run?.(execution)
        const room = request.room?.()
        if (room) await room
        const made = answer(variant, execution)
        request.made?.(made.text)
        return made
      } catch (error) {
        if (error instanceof RequestError || error instanceof Cancelled) throw error
        return answerText(null, [request.mask(error)])
      } finally {
        // A client's values must not be retained with the operation.
        variables = NO_VARIABLES
      }
    }
    if (node.operation !== 'subscription') return execute
    return Object.assign(execute, {
      source: ({ variables, values }: Pick<ExecutionRequest, 'variables' | 'values'>) =>
        variantOf(values).plan.source?.(variables),
    })
  }
}

/** Compiles an operation once for each combination of its conditions; one without conditions immediately. */
function variants(
  conditions: readonly string[],
  compile: (decisions: Decisions) => Variant,
): (values: Values) => Variant {
  if (conditions.length === 0) {
    const only = compile(new Map())
    return () => only
  }
  const known = new Map<string, Variant>()
  return (values) => {
    let key = ''
    for (const name of conditions) key += values[name] === true ? '1' : values[name] === null ? '-' : '0'
    let variant = known.get(key)
    if (!variant) {
      variant = compile(new Map(conditions.map((name) => [name, values[name]])))
      if (known.size >= MAX_VARIANTS) known.clear()
      known.set(key, variant)
    }
    return variant
  }
}

export function fetchEnvironment(
  { fullSchema }: LoadedSupergraph,
  subgraphs: Readonly<Record<string, SubgraphClient>>,
): FetchEnvironment {
  return { schema: fullSchema, subgraphs, abstract: interfaceNames(fullSchema) }
}

function interfaceNames(schema: GraphQLSchema): ReadonlySet<string> {
  const types = Object.values(schema.getTypeMap()).filter(isInterfaceType)
  return new Set(types.map(({ name }) => name))
}

/** Answers `__schema` and `__type` from the schema that clients see. */
export function introspector({ schema }: LoadedSupergraph, { document, node, declared }: PlannedOperation) {
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
