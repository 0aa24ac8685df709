export { Mailer, MailerBusy, MailRefused, type Mail } from './mailer.js';
export { MailModule } from './mail.module.js';
