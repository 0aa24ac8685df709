import { randomBytes } from 'node:crypto';

/** What a process of the product is told in production, besides what a work is about. Logs as much as its peers do: no line a task. */
export const productEnvironment: Readonly<Record<string, string>> = {
  NODE_ENV: 'production',
  LOG_LEVEL: 'warn',
  SMTP_URL: 'smtp://127.0.0.1:9',
  MAIL_FROM: 'Waybill <no-reply@waybill.localhost>',
  // Every caller comes from one address.
  SIGN_UP_BURST: '1000000',
  LOG_IN_BURST: '1000000',
  PUBLIC_URL: 'https://waybill.example.com',
  SECRET_KEY: randomBytes(32).toString('base64'),
};
