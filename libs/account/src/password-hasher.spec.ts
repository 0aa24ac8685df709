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
