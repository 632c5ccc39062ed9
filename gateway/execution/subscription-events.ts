/** The first fetch of a subscription's plan: it opens a stream, and each of its events is then executed like an answer. */
import type { FetchNode } from '@apollo/query-planner'
import { parse } from 'graphql'
import { readAnswer } from '../subgraphs/client.ts'
import { responseNames } from '../subgraphs/errors.ts'
import { hasCustomScalars } from './custom-scalars.ts'
import type { EventSource, ExecutionRequest } from './executor.ts'
import { bodyOf, compileRootFetch, type FetchEnvironment, failure, printBody, type Step } from './fetch.ts'

/** @returns what the stream's subgraph is sent, by the variables of the request */
export function eventSource(fetch: FetchNode): (variables: ExecutionRequest['variables']) => EventSource {
  const { serviceName: service, operation, operationName, variableUsages = [] } = fetch
  const body = bodyOf(operation, operationName, variableUsages)
  const [field = ''] = responseNames(parse(operation))
  return (variables) => ({ service, body: printBody(body, variables, ''), field })
}

/** The step that takes the event of the execution's request as the subgraph's answer. */
export function compileEventFetch(environment: FetchEnvironment, fetch: FetchNode): Step {
  const { serviceName: service, operation } = fetch
  const keepsDigits = hasCustomScalars(environment.schema, operation)
  return compileRootFetch(environment, fetch, [], {
    async call(execution, _body, path) {
      const { request } = execution
      const { event } = request
      if (event === undefined) return undefined
      try {
        request.received(event, service)
        return readAnswer(service, event, keepsDigits)
      } catch (error) {
        execution.errors.push(failure(error, request, path()))
        return undefined
      }
    },
  })
}
