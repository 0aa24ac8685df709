import { Ledger } from '../../libs/tasks/src/ledger/ledger.ts';

type Claim = { id: string };
type Transaction = (work: (manager: { query(sql: string, values: unknown[]): Promise<unknown> }) => Promise<unknown>) => Promise<unknown>;
interface Breakable {
  begin(): Promise<number>;
  completeWith(claim: Claim, keep: boolean, work: Parameters<Transaction>[0]): Promise<unknown>;
  dataSource: { transaction: Transaction };
}

/**
 * A negative control: takes the fence out of the engine. Every delivery may run
 * and commit its effects, whether a newer one has begun or the task is done.
 */
export function breakFence(): void {
  const ledger = Ledger.prototype as unknown as Breakable;
  ledger.begin = () => Promise.resolve(0);
  ledger.completeWith = function completeWithoutFence(this: Breakable, claim, _keep, work) {
    return this.dataSource.transaction(async (manager) => {
      const result = await work(manager);
      await manager.query('DELETE FROM task WHERE id = $1', [claim.id]);
      return result;
    });
  };
}

/** The other half of it: an attempt that is never told that its lock is lost. */
export function deafen(task: object): void {
  Object.assign(task, { interrupt: () => undefined });
}
