import { Injectable } from '@nestjs/common';
import { DataSource, type EntityManager } from 'typeorm';
import { AccountEvents } from './account-events.js';
import { Sessions } from './sessions.js';

/** What a person may be beside somebody with an account. */
export const ROLES = ['operator'] as const;
export type Role = (typeof ROLES)[number];

/** No verified account has that username. */
export class UnknownUser extends Error {
  override readonly name = 'UnknownUser';
}

/** What those who run an installation do about people. It counts from the commit on, also in sessions that are open. */
@Injectable()
export class UserAdmin {
  constructor(
    private readonly dataSource: DataSource,
    private readonly sessions: Sessions,
    private readonly events: AccountEvents,
  ) {}

  /** Gives somebody a role. @returns whether they did not have it yet. @throws UnknownUser */
  grant(username: string, role: Role): Promise<boolean> {
    return this.dataSource.transaction(async (manager) => {
      const { id, roles } = await find(manager, username);
      if (roles.includes(role)) return false;
      await manager.query('UPDATE users SET roles = array_append(roles, $2) WHERE id = $1', [id, role]);
      await this.events.record(manager, { userId: id, kind: 'role_granted' });
      return true;
    });
  }

  /** Takes a role from somebody. @returns whether they had it. @throws UnknownUser */
  revoke(username: string, role: Role): Promise<boolean> {
    return this.dataSource.transaction(async (manager) => {
      const { id, roles } = await find(manager, username);
      if (!roles.includes(role)) return false;
      await manager.query('UPDATE users SET roles = array_remove(roles, $2) WHERE id = $1', [id, role]);
      await this.events.record(manager, { userId: id, kind: 'role_revoked' });
      return true;
    });
  }

  /** Ends all sessions of somebody. @returns how many they were. @throws UnknownUser */
  logOut(username: string): Promise<number> {
    return this.dataSource.transaction(async (manager) => {
      const { id } = await find(manager, username);
      const ended = await this.sessions.endAll(manager, id);
      if (ended > 0) await this.events.record(manager, { userId: id, kind: 'all_sessions_ended' });
      return ended;
    });
  }
}

/** An account, locked until the transaction ends. */
async function find(manager: EntityManager, username: string): Promise<{ id: string; roles: string[] }> {
  const [user] = await manager.query<{ id: string; roles: string[] }[]>(
    'SELECT id, roles FROM users WHERE lower(username) = lower($1) AND is_email_verified FOR UPDATE',
    [username],
  );
  if (!user) throw new UnknownUser(`no verified account has the username "${username}"`);
  return user;
}
