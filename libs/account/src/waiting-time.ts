/** How long a sign-up waits for its address to be verified, and how long its request is recognised; an interval of Postgres. */
export const WAITING_TIME = '1 day';
