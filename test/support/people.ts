import { randomBytes } from 'node:crypto';

/** A person who can sign up: nobody that any other test knows. */
export function somebody(): { username: string; fullName: string; email: string; password: string } {
  const name = `p${randomBytes(6).toString('hex')}`;
  return { username: name, fullName: "Zoë O'Brien", email: `${name}@example.com`, password: `pass-${name}` };
}
