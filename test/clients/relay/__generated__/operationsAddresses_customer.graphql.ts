/**
 * @generated SignedSource<<2a822cdd8a94eb09416af752388c5042>>
 * @lightSyntaxTransform
 */

/* tslint:disable */
/* eslint-disable */
// @ts-nocheck

import type { ReaderFragment } from 'relay-runtime';
import type { FragmentRefs } from "relay-runtime";
export type operationsAddresses_customer$data = {
  readonly addresses: ReadonlyArray<{
    readonly city: string | null | undefined;
    readonly id: number | null | undefined;
  } | null | undefined> | null | undefined;
  readonly " $fragmentType": "operationsAddresses_customer";
};
export type operationsAddresses_customer$key = {
  readonly " $data"?: operationsAddresses_customer$data;
  readonly " $fragmentSpreads": FragmentRefs<"operationsAddresses_customer">;
};

const node: ReaderFragment = {
  "argumentDefinitions": [],
  "kind": "Fragment",
  "metadata": null,
  "name": "operationsAddresses_customer",
  "selections": [
    {
      "alias": null,
      "args": null,
      "concreteType": "CustomerAddress",
      "kind": "LinkedField",
      "name": "addresses",
      "plural": true,
      "selections": [
        {
          "alias": null,
          "args": null,
          "kind": "ScalarField",
          "name": "id",
          "storageKey": null
        },
        {
          "alias": null,
          "args": null,
          "kind": "ScalarField",
          "name": "city",
          "storageKey": null
        }
      ],
      "storageKey": null
    }
  ],
  "type": "Customer",
  "abstractKey": null
};

(node as any).hash = "b6e2ef16ff5556ea1d9a2dbc6c4e6545";

export default node;
