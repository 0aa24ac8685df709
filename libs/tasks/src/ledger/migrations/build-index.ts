import type { QueryRunner } from 'typeorm';

/** Builds an index of the ledger beside the traffic; its migration must run outside of a transaction. */
export async function buildIndex(runner: QueryRunner, index: string, definition: string): Promise<void> {
  // An attempt that was cut off leaves an index that is not valid, and in the way.
  const left = (await runner.query(`SELECT FROM pg_index WHERE indexrelid = to_regclass('${index}') AND NOT indisvalid`)) as unknown[];
  if (left.length > 0) await runner.query(`DROP INDEX CONCURRENTLY ${index}`);
  await runner.query(`CREATE INDEX CONCURRENTLY IF NOT EXISTS ${index} ON task ${definition}`);
}
