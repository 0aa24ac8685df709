/** What each thread of {@link PasswordHasher} does: a program of its own, which it loads by its place. */
import { hashSync, verifySync } from '@node-rs/argon2';

/** @param args what the library's function takes. */
export const hash = (args: Parameters<typeof hashSync>): string => hashSync(...args);

/** @param args what the library's function takes. */
export const verify = (args: Parameters<typeof verifySync>): boolean => verifySync(...args);
