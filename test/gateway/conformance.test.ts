/** Federation's rules, by small supergraphs: see conformance/. */
import t from 'tap'
import { callOrderSuites } from './conformance/call-order.ts'
import { chainSuites } from './conformance/chains.ts'
import { entitySuites } from './conformance/entities.ts'
import { interfaceObjectSuites } from './conformance/interface-objects.ts'
import { keySuites } from './conformance/keys.ts'
import { plannerSuites } from './conformance/planner.ts'
import { reportSuites } from './conformance/reports.ts'
import { requiresSuites } from './conformance/requires.ts'
import { run } from './conformance/support.ts'
import { typeSuites } from './conformance/types.ts'
import { variableSuites } from './conformance/variables.ts'

for (const suite of [
  ...keySuites,
  ...entitySuites,
  ...requiresSuites,
  ...typeSuites,
  ...plannerSuites,
  ...chainSuites,
  ...callOrderSuites,
  ...reportSuites,
  ...interfaceObjectSuites,
  ...variableSuites,
])
  t.test(suite.name, (t) => run(t, suite))
