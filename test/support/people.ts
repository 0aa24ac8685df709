import { randomBytes } from 'node:crypto';

/** A person who can sign up: nobody that any other test knows. */
export function somebody(): { username: string; fullName: string; email: string; password: string } {
  // Ends with a letter, because digits at the end of a name are not told from those that a password adds.
  const name = `p${randomBytes(6).toString('hex')}x`;
  return { username: name, fullName: "Zoë O'Brien", email: `${name}@example.com`, password: `pass-${name}` };
}
