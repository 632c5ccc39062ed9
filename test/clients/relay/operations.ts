/**
 * The operations of the Relay test. `__generated__` is what the Relay compiler made of them; it was run by
 * `npx relay-compiler relay.config.json` in this folder, with the schema of `npm start` as schema.graphql. Nothing imports this
 * file: without its Babel plugin Relay refuses to run a `graphql` tag.
 */
import { graphql } from 'relay-runtime'

graphql`
  mutation operationsSignInMutation($email: String!, $password: String!) {
    generateCustomerToken(email: $email, password: $password) {
      token
    }
  }
`

graphql`
  query operationsAccountQuery {
    customer {
      firstname
      ...operationsAddresses_customer
      orders {
        number
        items {
          product {
            name
          }
        }
      }
    }
  }
`

graphql`
  fragment operationsAddresses_customer on Customer {
    addresses {
      id
      city
    }
  }
`

graphql`
  mutation operationsRenameMutation($input: CustomerUpdateInput!) {
    updateCustomerV2(input: $input) {
      customer {
        firstname
      }
    }
  }
`

graphql`
  mutation operationsAddAddressMutation($input: CustomerAddressInput!) {
    createCustomerAddress(input: $input) {
      city
    }
  }
`
