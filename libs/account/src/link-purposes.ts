/** What a link to an account is for, as its row says and as its token is derived with. */
export const RESET_PASSWORD = 'reset_password';
export const CHANGE_EMAIL = 'change_email';
export const UNDO_EMAIL_CHANGE = 'undo_email_change';

/** Links that a new password makes void: whoever knew the former one may have asked for them. A way back to a former address stays. */
export const VOID_BY_PASSWORD = [RESET_PASSWORD, CHANGE_EMAIL];

/** How long the link to a new address may be used after it was mailed; an interval of Postgres. */
export const CHANGE_LIFETIME = '15 minutes';
