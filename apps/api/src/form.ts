/** A field of a query or a form; empty when it is not there, or there more than once. */
export function textOf(given: unknown, field: string): string {
  const value = typeof given === 'object' && given !== null ? (given as Record<string, unknown>)[field] : undefined;
  return typeof value === 'string' ? value : '';
}
