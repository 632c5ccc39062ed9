/**
 * @generated SignedSource<<2b6e586f9f54db4b7979a06813a035e3>>
 * @relayHash 7bc8ddeb3b88a825beeeef95ae11fecb
 * @lightSyntaxTransform
 */

/* tslint:disable */
/* eslint-disable */
// @ts-nocheck

// @relayRequestID 15801b4834043043d12127cfcb4b4c398c3779294a3ee15f1e88fbfb67db14d6

import type { ConcreteRequest } from 'relay-runtime';
export type operationsSignInMutation$variables = {
  email: string;
  password: string;
};
export type operationsSignInMutation$data = {
  readonly generateCustomerToken: {
    readonly token: string | null | undefined;
  } | null | undefined;
};
export type operationsSignInMutation = {
  response: operationsSignInMutation$data;
  variables: operationsSignInMutation$variables;
};

const node: ConcreteRequest = (function(){
var v0 = [
  {
    "defaultValue": null,
    "kind": "LocalArgument",
    "name": "email"
  },
  {
    "defaultValue": null,
    "kind": "LocalArgument",
    "name": "password"
  }
],
v1 = [
  {
    "alias": null,
    "args": [
      {
        "kind": "Variable",
        "name": "email",
        "variableName": "email"
      },
      {
        "kind": "Variable",
        "name": "password",
        "variableName": "password"
      }
    ],
    "concreteType": "CustomerToken",
    "kind": "LinkedField",
    "name": "generateCustomerToken",
    "plural": false,
    "selections": [
      {
        "alias": null,
        "args": null,
        "kind": "ScalarField",
        "name": "token",
        "storageKey": null
      }
    ],
    "storageKey": null
  }
];
return {
  "fragment": {
    "argumentDefinitions": (v0/*:: as any*/),
    "kind": "Fragment",
    "metadata": null,
    "name": "operationsSignInMutation",
    "selections": (v1/*:: as any*/),
    "type": "Mutation",
    "abstractKey": null
  },
  "kind": "Request",
  "operation": {
    "argumentDefinitions": (v0/*:: as any*/),
    "kind": "Operation",
    "name": "operationsSignInMutation",
    "selections": (v1/*:: as any*/)
  },
  "params": {
    "id": "15801b4834043043d12127cfcb4b4c398c3779294a3ee15f1e88fbfb67db14d6",
    "metadata": {},
    "name": "operationsSignInMutation",
    "operationKind": "mutation",
    "text": null
  }
};
})();

(node as any).hash = "415a4af0fe5063cc04894db24b2d4740";

export default node;
