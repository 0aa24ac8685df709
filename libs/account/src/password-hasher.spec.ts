import type { Worker } from 'node:worker_threads';
import { PasswordHasher } from './password-hasher.js';

const PASSWORD = 'Grüße aus Köln';

describe('PasswordHasher', () => {
  let passwords: PasswordHasher;

  beforeEach(() => {
    passwords = new PasswordHasher();
  });

  afterEach(() => passwords.onApplicationShutdown());

  it('hashes with argon2id, 19 MiB and two passes, with another salt each time', async () => {
    const hashes = await Promise.all([passwords.hash(PASSWORD), passwords.hash(PASSWORD)]);

    for (const hash of hashes) expect(hash).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
    expect(new Set(hashes).size).toBe(2);
  });

  it('takes a password for the same one in whichever form of Unicode it is written', async () => {
    const hash = await passwords.hash(PASSWORD.normalize('NFD'));

    expect(await passwords.verify(hash, PASSWORD.normalize('NFC'))).toBe(true);
    expect(await passwords.verify(hash, PASSWORD.toLowerCase())).toBe(false);
  });

  it('has no password for nobody', async () => {
    expect(await passwords.verifyOf(undefined, PASSWORD)).toBe(false);
  });

  it('goes on after a hash that is none', async () => {
    await expect(passwords.verify('what is no hash', PASSWORD)).rejects.toThrow();

    expect(await passwords.verify(await passwords.hash(PASSWORD), PASSWORD)).toBe(true);
  });

  it('checks more passwords at once than it has threads, each as its own', async () => {
    const hash = await passwords.hash(PASSWORD);
    const given = Array.from({ length: 40 }, (_, number) => (number % 3 === 0 ? PASSWORD : `${PASSWORD} ${number}`));

    const answers = await Promise.all(given.map((password) => passwords.verify(hash, password)));

    expect(answers).toEqual(given.map((password) => password === PASSWORD));
  });

  it('begins anew after threads that could not begin', async () => {
    const end = (worker: Worker) => void worker.terminate();
    process.on('worker', end);
    await expect(passwords.hash(PASSWORD)).rejects.toThrow();
    process.off('worker', end);

    // Those of the library's own second try may be dying still.
    await vi.waitFor(() => passwords.hash(PASSWORD), { timeout: 10_000 });
    await Promise.all(Array.from({ length: 10 }, () => passwords.hash(PASSWORD)));
  });

  it('fails for whoever waits when threads end, and for nobody after them', async () => {
    const started: Worker[] = [];
    const note = (worker: Worker) => void started.push(worker);
    process.on('worker', note);
    const hash = await passwords.hash(PASSWORD);
    process.off('worker', note);

    const given = Array.from({ length: 20 }, () => passwords.verify(hash, PASSWORD));
    for (const worker of started) void worker.terminate();
    const answers = await Promise.allSettled(given);

    expect(answers.map(({ status }) => status)).toContain('rejected');
    await vi.waitFor(() => passwords.verify(hash, PASSWORD), { timeout: 10_000 });
    expect(await Promise.all(given.map(() => passwords.verify(hash, PASSWORD)))).toEqual(given.map(() => true));
  });

  it('leaves no thread behind', async () => {
    const started: Worker[] = [];
    const note = (worker: Worker) => void started.push(worker);
    process.on('worker', note);
    await passwords.hash(PASSWORD);
    process.off('worker', note);
    expect(started.length).toBeGreaterThan(0);

    await passwords.onApplicationShutdown();

    // What a thread that has ended has for its number.
    expect(started.map(({ threadId }) => threadId)).toEqual(started.map(() => -1));
  });
});
