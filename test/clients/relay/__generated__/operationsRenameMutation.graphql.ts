/**
 * @generated SignedSource<<60e9ab28d1cf1592a978481ebb4dd2a3>>
 * @relayHash 9a2b4e77255b9b220602c4b73b4e78c3
 * @lightSyntaxTransform
 */

/* tslint:disable */
/* eslint-disable */
// @ts-nocheck

// @relayRequestID cc8019811e04a852df3d7fab3bee562d42a791ca2cfabab2056d69078175b942

import type { ConcreteRequest } from 'relay-runtime';
export type CustomerUpdateInput = {
  allow_remote_shopping_assistance?: boolean | null | undefined;
  custom_attributes?: ReadonlyArray<AttributeValueInput | null | undefined> | null | undefined;
  date_of_birth?: string | null | undefined;
  firstname?: string | null | undefined;
  gender?: number | null | undefined;
  is_subscribed?: boolean | null | undefined;
  lastname?: string | null | undefined;
  middlename?: string | null | undefined;
  prefix?: string | null | undefined;
  suffix?: string | null | undefined;
  taxvat?: string | null | undefined;
};
export type AttributeValueInput = {
  attribute_code: string;
  selected_options?: ReadonlyArray<AttributeInputSelectedOption | null | undefined> | null | undefined;
  value?: string | null | undefined;
};
export type AttributeInputSelectedOption = {
  value: string;
};
export type operationsRenameMutation$variables = {
  input: CustomerUpdateInput;
};
export type operationsRenameMutation$data = {
  readonly updateCustomerV2: {
    readonly customer: {
      readonly firstname: string | null | undefined;
    };
  } | null | undefined;
};
export type operationsRenameMutation = {
  response: operationsRenameMutation$data;
  variables: operationsRenameMutation$variables;
};

const node: ConcreteRequest = (function(){
var v0 = [
  {
    "defaultValue": null,
    "kind": "LocalArgument",
    "name": "input"
  }
],
v1 = [
  {
    "alias": null,
    "args": [
      {
        "kind": "Variable",
        "name": "input",
        "variableName": "input"
      }
    ],
    "concreteType": "CustomerOutput",
    "kind": "LinkedField",
    "name": "updateCustomerV2",
    "plural": false,
    "selections": [
      {
        "alias": null,
        "args": null,
        "concreteType": "Customer",
        "kind": "LinkedField",
        "name": "customer",
        "plural": false,
        "selections": [
          {
            "alias": null,
            "args": null,
            "kind": "ScalarField",
            "name": "firstname",
            "storageKey": null
          }
        ],
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
    "name": "operationsRenameMutation",
    "selections": (v1/*:: as any*/),
    "type": "Mutation",
    "abstractKey": null
  },
  "kind": "Request",
  "operation": {
    "argumentDefinitions": (v0/*:: as any*/),
    "kind": "Operation",
    "name": "operationsRenameMutation",
    "selections": (v1/*:: as any*/)
  },
  "params": {
    "id": "cc8019811e04a852df3d7fab3bee562d42a791ca2cfabab2056d69078175b942",
    "metadata": {},
    "name": "operationsRenameMutation",
    "operationKind": "mutation",
    "text": null
  }
};
})();

(node as any).hash = "c172c4c8fff881198104083f8169cb87";

export default node;
