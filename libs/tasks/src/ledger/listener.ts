import { EventEmitter } from 'node:events';
import { Injectable } from '@nestjs/common';
import { Client } from '@app/postgres';
import type pg from 'pg';
import { EngineOptions } from '../options.js';
import { TaskLogger } from '../task-logger.js';
import { CANCEL_CHANNEL, PAUSE_CHANNEL, TASK_CHANNEL } from './channels.js';

/** Milliseconds. */
const CHECK_INTERVAL = 10_000;
const RETRY_INTERVAL = 1_000;
const TIMEOUT = 5_000;

/**
 * How soon the server gives up a connection whose machine has vanished, and with it
 * the advisory locks: some 15 s. A process that is only busy is not concerned, since
 * its operating system answers.
 */
const SERVER_KEEPALIVE = `SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 3; SET tcp_keepalives_count = 3`;

interface Events {
  /** A connection has been opened and listens: what was said before is not known. */
  connected: [client: pg.Client];
  lost: [];
  /** The names of queues that have something to do. */
  task: [queues: string];
  cancel: [id: string];
  pause: [queue: string];
}

const EVENTS = { [TASK_CHANNEL]: 'task', [CANCEL_CHANNEL]: 'cancel', [PAUSE_CHANNEL]: 'pause' } as const;

/**
 * The one connection of a process that listens, and that holds its advisory locks.
 * It is opened again whenever it is lost.
 */
@Injectable()
export class Listener extends EventEmitter<Events> {
  private client: pg.Client | undefined;
  private connected = false;
  private timer: NodeJS.Timeout | undefined;
  private stopped = false;

  constructor(
    private readonly options: EngineOptions,
    private readonly logger: TaskLogger,
  ) {
    super();
    this.setMaxListeners(0);
  }

  /** The connection, while there is one. */
  get connection(): pg.Client | undefined {
    return this.connected ? this.client : undefined;
  }

  start(): void {
    void this.listen();
  }

  async stop(): Promise<void> {
    this.stopped = true;
    clearTimeout(this.timer);
    await this.client?.end().catch(() => undefined);
  }

  private async listen(): Promise<void> {
    const client: pg.Client = new Client({
      connectionString: this.options.databaseUrl,
      application_name: 'waybill-listener',
      keepAlive: true,
      keepAliveInitialDelayMillis: CHECK_INTERVAL,
      connectLimit: TIMEOUT,
      answerLimit: TIMEOUT,
    });
    this.client = client;
    let isLost = false;
    const reconnect = (error?: Error) => {
      if (isLost || this.stopped) return;
      isLost = true;
      if (error) this.logger.trouble('listener', error);
      if (this.connected) {
        this.connected = false;
        this.emit('lost');
      }
      clearTimeout(this.timer);
      client.end().catch(() => undefined);
      this.timer = setTimeout(() => void this.listen(), RETRY_INTERVAL);
    };
    client.on('error', reconnect);
    client.on('end', () => reconnect());
    client.on('notification', ({ channel, payload = '' }) => {
      const event = EVENTS[channel as keyof typeof EVENTS];
      if (event !== undefined) this.emit(event, payload);
    });
    try {
      await client.connect();
      await client.query(`${SERVER_KEEPALIVE}; LISTEN ${TASK_CHANNEL}; LISTEN ${CANCEL_CHANNEL}; LISTEN ${PAUSE_CHANNEL}`);
      this.connected = true;
      this.logger.well('listener');
      this.emit('connected', client);
      this.check(client, reconnect);
    } catch (error) {
      reconnect(error as Error);
    }
  }

  /** A connection that a proxy or a firewall has dropped says nothing for ever: ask. */
  private check(client: pg.Client, reconnect: (error: Error) => void): void {
    if (this.stopped || !this.connected) return;
    this.timer = setTimeout(() => {
      client.query('SELECT 1').then(() => this.check(client, reconnect), reconnect);
    }, CHECK_INTERVAL);
  }
}
