/** The commands for the supergraph. They need no running service. */
import { type CliCommand, NAME } from './cli-command.ts'

export function addGraphCommands(program: CliCommand): void {
  program.commandsGroup('Supergraph:')
  program
    .command('compose')
    .summary('composes subgraph schemas into a supergraph')
    .description(
      'Composes subgraph schemas into a supergraph. Only subgraphs with a `subgraph_url` are called. The file is replaced atomically.',
    )
    .argument('[config]', "the subgraphs, in rover's format", 'schema/supergraph.yaml')
    .argument('[output]', 'the supergraph; default: the configuration with .graphql for .yaml')
    .option(
      '--exclude-tag <name>',
      'leave out what has this tag (@tag), for clients; may be repeated',
      (name: string, before: readonly string[] = []) => [...before, name],
    )
    .withDetails({
      examples: {
        [`${NAME} compose`]: 'schema/supergraph.yaml to schema/supergraph.graphql',
        [`${NAME} compose examples/commerce/supergraph.yaml`]: 'with the sample subgraphs',
        [`${NAME} compose schema/supergraph.yaml partners.graphql --exclude-tag internal`]: 'a contract for partners',
      },
      exitCodes: { 1: 'the schemas do not compose, or the file cannot be written' },
    })
    .action(async (config, output, options) =>
      (await import('../commands/compose.ts')).compose(config, output, options),
    )
  program
    .command('plan')
    .summary('shows how the gateway would execute an operation')
    .description('Shows how the gateway would execute an operation. No subgraph is called.')
    .argument('<file>', 'the GraphQL document; -: standard input')
    .option('--operation <name>', 'which of several operations in the document')
    .option('--variables <json>', 'those of @skip and @include matter', '{}')
    .option('--supergraph <path>', 'default: SUPERGRAPH, or the one with the sample subgraphs')
    .withDetails({
      examples: {
        [`echo '{ customer { email } }' | ${NAME} plan -`]: 'a document from standard input',
        [`${NAME} plan query.graphql --variables '{"full":true}'`]: 'with the variables of its conditions',
      },
      exitCodes: { 1: 'the operation cannot be planned' },
      variables: ['SUPERGRAPH'],
    })
    .action(async (file, options) => (await import('../commands/plan.ts')).plan(file, options))
}
