import { metrics } from '@opentelemetry/api';
import type pg from 'pg';

/** Tells how many connections of a pool are used, by OpenTelemetry's conventions for database clients. @param name one of few that stand in the code. */
export function observePool(name: string, pool: pg.Pool): void {
  const meter = metrics.getMeter('waybill.postgres');
  const named = { 'db.client.connection.pool.name': name };
  const options = (unit: string, description: string) => ({ unit, description });
  const count = meter.createObservableUpDownCounter('db.client.connection.count', options('{connection}', 'Connections that are open.'));
  const most = meter.createObservableUpDownCounter('db.client.connection.max', options('{connection}', 'The most that may be open.'));
  const waiting = meter.createObservableUpDownCounter(
    'db.client.connection.pending_requests',
    options('{request}', 'Whoever waits for a connection.'),
  );
  meter.addBatchObservableCallback(
    (result) => {
      result.observe(count, pool.totalCount - pool.idleCount, { ...named, 'db.client.connection.state': 'used' });
      result.observe(count, pool.idleCount, { ...named, 'db.client.connection.state': 'idle' });
      result.observe(most, pool.options.max, named);
      result.observe(waiting, pool.waitingCount, named);
    },
    [count, most, waiting],
  );
}
