import { createServer } from 'node:net';
import type { Config } from './config.js';

/** The variables that give a server of ours its port. */
export type PortVariable = 'HTTP_PORT' | 'GRPC_PORT' | 'CONSOLE_PORT' | 'METRICS_PORT' | 'WORKER_HTTP_PORT';

/** A port cannot be listened on; the message is one line that names the variable it came from. */
export class PortUnavailable extends Error {
  override readonly name = 'PortUnavailable';
}

/**
 * Asks whether every port that an app is going to listen on is there to be had:
 * before it begins anything else, and in our words. A variable that is not set
 * is left out.
 *
 * @throws PortUnavailable for the first one that is not.
 */
export async function assertPortsAvailable<Variable extends PortVariable>(
  config: Pick<Config, 'HOST' | Variable>,
  ...variables: readonly Variable[]
): Promise<void> {
  const takenBy = new Map<number, string>();
  for (const variable of variables) {
    const port: number | undefined = config[variable];
    if (port === undefined) continue;
    const other = takenBy.get(port);
    // Port 0 is any that is free: two of them are two.
    if (other !== undefined && port !== 0) throw new PortUnavailable(`${variable}: port ${port} is ${other}'s as well`);
    takenBy.set(port, variable);
    await assertPortAvailable(config.HOST, port, variable);
  }
}

async function assertPortAvailable(host: string, port: number, variable: PortVariable): Promise<void> {
  const probe = createServer();
  try {
    await new Promise<void>((resolve, reject) => {
      probe.once('error', reject);
      probe.listen({ host, port, exclusive: true }, resolve);
    });
  } catch (error) {
    throw portUnavailable(host, port, variable, error);
  }
  await new Promise<void>((resolve) => probe.close(() => resolve()));
}

/** What an error of listening means, in our words. */
export function portUnavailable(host: string, port: number, variable: PortVariable, error: unknown): PortUnavailable {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND')
    return new PortUnavailable(`HOST: ${host} is no address of this machine (${code})`, { cause: error });
  const reason = code === 'EADDRINUSE' ? 'is taken by another process' : `cannot be listened on (${code ?? String(error)})`;
  return new PortUnavailable(`${variable}: port ${port} of ${host} ${reason}`, { cause: error });
}
