import { AsyncLocalStorage } from 'node:async_hooks';

const fieldsInScope = new AsyncLocalStorage<Readonly<Record<string, unknown>>>();

/** Runs `work` with `fields` on every line that is logged in it, at any depth. */
export function withLogFields<T>(fields: Readonly<Record<string, unknown>>, work: () => T): T {
  return fieldsInScope.run({ ...fieldsInScope.getStore(), ...fields }, work);
}

/** What {@link withLogFields} has put on the lines of this scope. */
export function currentLogFields(): Readonly<Record<string, unknown>> {
  return fieldsInScope.getStore() ?? {};
}
