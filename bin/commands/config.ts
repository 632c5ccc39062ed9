export function config(_options: { readonly json: boolean }): void {}
