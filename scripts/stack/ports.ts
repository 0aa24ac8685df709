import { connect, createServer, type Server } from 'node:net';

const LOOPBACK = '127.0.0.1';

function open(port: number, host: string): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ port, host, exclusive: true }, () => resolve(server));
  });
}

async function listen(port: number, host: string): Promise<void> {
  const server = await open(port, host);
  await new Promise((resolve) => server.close(resolve));
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: LOOPBACK, timeout: 1_000 });
    const settle = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('connect', () => settle(true));
    socket.once('timeout', () => settle(false));
    socket.once('error', () => settle(false));
  });
}

/** Below the ports that systems give to outgoing connections: nothing takes one by chance between our asking and somebody's binding. */
const FIRST = 20_000;
const COUNT = 6_000;

/**
 * A loopback port that nobody listens on, and that is given to nobody else while
 * this process lives: it holds another port, as far away, that stands for it.
 * Between our asking and an app's binding pass seconds, in which others ask too.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = FIRST + Math.floor(Math.random() * COUNT);
    try {
      (await open(port + COUNT, LOOPBACK)).unref();
      await listen(port, LOOPBACK);
      return port;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    }
  }
}

/** Why `port` cannot be listened on, or undefined when it can. */
async function obstacle(port: number, host: string): Promise<string | undefined> {
  // macOS lets us bind 127.0.0.1 beside somebody's 0.0.0.0, so binding alone does not tell.
  if (await answers(port)) return 'is taken by another process';
  try {
    await listen(port, host);
    return undefined;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'EADDRINUSE') return 'is taken by another process';
    if (code === 'EACCES') return 'is not yours to listen on';
    return `cannot be listened on (${message})`;
  }
}

/** A port that will be needed, and the variable that moves it. */
export interface WantedPort {
  readonly variable: string;
  readonly port: number;
  readonly host?: string;
}

/**
 * Makes sure that every wanted port is there to be had.
 *
 * @throws Error with a line for each that is not, naming its variable.
 */
export async function claimPorts(wanted: readonly WantedPort[]): Promise<void> {
  const problems: string[] = [];
  const claimed = new Map<number, string>();
  for (const { variable, port, host = LOOPBACK } of wanted) {
    const other = claimed.get(port);
    claimed.set(port, variable);
    const problem = other === undefined ? await obstacle(port, host) : `is ${other}'s as well`;
    if (problem !== undefined) problems.push(`port ${port} ${problem}: set ${variable} to another one`);
  }
  if (problems.length > 0) throw new Error(problems.join('\n'));
}
