/**
 * Operations that were asked for before, compiled by graphql-jit as Mercurius compiles them. They are executed without
 * its route, which costs a plain query more than the query itself: several promises, a second validation of the
 * variables, objects for hooks that nobody has. Everything else goes through Mercurius: the first request of a
 * document, whatever is not valid, and what can't be compiled.
 */
import {
  type ExecutionResult,
  type GraphQLSchema,
  getOperationAST,
  getVariableValues,
  OperationTypeNode,
  parse,
  specifiedRules,
  type ValidationRule,
  type VariableDefinitionNode,
  validate,
} from 'graphql'
import { type CompiledQuery, compileQuery, isCompiledQuery } from 'graphql-jit'
import { createDocumentBudget, MAX_DOCUMENT_TOKENS } from '../../runtime/document-budget.ts'
import { quickCheck } from './valid-variables.ts'

/** Executes an operation. Absent: its variables are not valid, and nothing was executed. */
export type ExecuteCompiled = (
  context: object,
  variables: unknown,
) => ExecutionResult | Promise<ExecutionResult | undefined> | undefined

export interface CompiledOperations {
  /**
   * @param document its text, distinct for each operation that is requested from it
   * @param operationName the requested operation, if the document has several
   * @returns undefined the first time, and where Mercurius has to answer
   */
  find(document: string, operationName: unknown): ExecuteCompiled | undefined
}

/** Mercurius' own root value. */
const ROOT = Object.freeze({})

/** @param forget called when the documents are too many or too long: Mercurius keeps them, too */
export function createCompiledOperations(
  schema: GraphQLSchema,
  rules: readonly ValidationRule[],
  forget: () => void,
): CompiledOperations {
  /** false: to be compiled when it is asked for again; null: left to Mercurius. */
  const known = new Map<string, ExecuteCompiled | false | null>()
  const count = createDocumentBudget(() => {
    known.clear()
    forget()
  })

  return {
    find(document, operationName) {
      const before = known.get(document)
      if (before) return before
      if (before === null) return undefined
      if (before === undefined) {
        count(document)
        known.set(document, false)
        return undefined
      }
      const compiled = compile(schema, rules, document, typeof operationName === 'string' ? operationName : undefined)
      known.set(document, compiled ?? null)
      return compiled
    },
  }
}

/** undefined for a document that is not valid, for a subscription, and for what graphql-jit can't compile. */
function compile(
  schema: GraphQLSchema,
  rules: readonly ValidationRule[],
  text: string,
  operationName: string | undefined,
): ExecuteCompiled | undefined {
  try {
    const document = parse(text, { maxTokens: MAX_DOCUMENT_TOKENS })
    const operation = getOperationAST(document, operationName)
    if (!operation || operation.operation === OperationTypeNode.SUBSCRIPTION) return undefined
    if (validate(schema, document, [...specifiedRules, ...rules]).length > 0) return undefined
    const compiled = compileQuery(schema, document, operationName)
    if (!isCompiledQuery(compiled)) return undefined
    return execution(schema, compiled, operation.variableDefinitions ?? [])
  } catch {
    return undefined // Mercurius says what is wrong with it
  }
}

/** graphql-jit is more lenient with variables than the specification, so graphql checks them first. */
function execution(
  schema: GraphQLSchema,
  { query }: CompiledQuery,
  declared: readonly VariableDefinitionNode[],
): ExecuteCompiled {
  if (declared.length === 0) return (context) => executed(query(ROOT, context, NO_VARIABLES))
  const areValid = quickCheck(schema, declared)
  return (context, variables) => {
    const given = (variables ?? NO_VARIABLES) as Readonly<Record<string, unknown>>
    if (!areValid(given) && getVariableValues(schema, declared, given, { maxErrors: 1 }).errors) return undefined
    return executed(query(ROOT, context, given))
  }
}

const NO_VARIABLES = Object.freeze({})

/** A result without data: graphql-jit has refused the variables. */
function executed(result: ReturnType<CompiledQuery['query']>): ReturnType<ExecuteCompiled> {
  const executedOf = (settled: ExecutionResult) => ('data' in settled ? settled : undefined)
  return result instanceof Promise ? result.then(executedOf) : executedOf(result as ExecutionResult)
}
