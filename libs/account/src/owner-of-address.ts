import type { EntityManager } from 'typeorm';
import { User } from './user.entity.js';

/** How often at most the owner of an address is told of what others try with it; an interval of Postgres. */
const BETWEEN_NOTICES = '1 hour';

/** Whose address it is, by a verification. */
export async function ownerOf(manager: EntityManager, email: string): Promise<User | undefined> {
  const owner = await manager
    .createQueryBuilder(User, 'users')
    .where('lower(users.email) = lower(:email) AND users.is_email_verified', { email })
    .getOne();
  return owner ?? undefined;
}

/** Whether a task is the one that mails the owner a notice: the first within an hour, and every further attempt of it. */
export async function mayTellOwner(manager: EntityManager, { id }: User, taskId: string): Promise<boolean> {
  const [, count] = await manager.query<[unknown, number]>(
    `UPDATE users SET notice_id = $2, noticed_at = CASE WHEN notice_id = $2 THEN noticed_at ELSE now() END
     WHERE id = $1 AND (notice_id IS NULL OR notice_id = $2 OR noticed_at <= now() - $3::interval)`,
    [id, taskId, BETWEEN_NOTICES],
  );
  return count > 0;
}
