import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { type Postgres, startPostgres } from '../../scripts/stack/postgres.ts';
import type { TestDatabase } from './database.js';
import { freePort } from '../../scripts/stack/ports.ts';

/** A Postgres of one test's own, to be stopped and started again at the same address, with its data. */
export class PrivatePostgres {
  private server: Postgres | undefined;

  private constructor(
    private readonly folder: string,
    private readonly port: number,
  ) {}

  static async start(): Promise<PrivatePostgres> {
    const folder = mkdtempSync(join(tmpdir(), 'waybill-outage-'));
    // The server may run as another user, who must get in.
    chmodSync(folder, 0o755);
    const postgres = new PrivatePostgres(folder, await freePort());
    await postgres.start();
    return postgres;
  }

  get url(): string {
    return `postgres://waybill:waybill@127.0.0.1:${this.port}/waybill`;
  }

  get dataDir(): string {
    return join(this.folder, 'data');
  }

  async start(): Promise<void> {
    this.server = await startPostgres({ port: this.port, dataDir: this.dataDir, temporary: true });
  }

  /** Ends it as an operator would, with its clients connected. Not by its own `stop`, which removes the data of a temporary server. */
  async stop(): Promise<void> {
    const pid = Number.parseInt(readFileSync(join(this.dataDir, 'postmaster.pid'), 'utf8'), 10);
    process.kill(pid, 'SIGINT');
    await this.server?.exited;
  }

  /**
   * For a `Waybill`: dropping it ends the server and removes the data.
   *
   * @param url its address, where another one than usual leads to it.
   */
  database(url = this.url): TestDatabase {
    return {
      url,
      query: async <Row>(sql: string, values?: unknown[]) => {
        const client = new pg.Client({ connectionString: url });
        client.on('error', () => undefined);
        await client.connect();
        try {
          return (await client.query(sql, values)).rows as Row[];
        } finally {
          await client.end();
        }
      },
      drop: async () => {
        await this.server?.stop();
        rmSync(this.folder, { recursive: true, force: true });
      },
    };
  }
}
