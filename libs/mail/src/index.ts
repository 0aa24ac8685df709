export { Mailer, MailRefused, type Mail } from './mailer.js';
export { MailModule } from './mail.module.js';
