/**
 * Signs somebody up, beside `make start` and after `make client`:
 * `node clients/typescript/examples/sign-up.ts ada ada@example.com http://localhost:8080`
 */
import { createClient, UserService, ValidationError } from '@waybill/client';

const [username = 'ada', email = `${username}@example.com`, baseUrl = 'http://localhost:8080'] = process.argv.slice(2);
const users = createClient(UserService, { baseUrl });
try {
  const { user } = await users.createUser({ username, fullName: 'Ada Lovelace', email, password: 'correct horse battery' });
  console.log(`${user?.username} has signed up, and a link is on its way to ${user?.email}`);
} catch (error) {
  if (!(error instanceof ValidationError)) throw error;
  for (const { field, description } of error.violations) console.error(`${field} ${description}`);
  process.exitCode = 1;
}
