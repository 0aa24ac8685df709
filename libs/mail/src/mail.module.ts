import { Global, Module } from '@nestjs/common';
import { Config } from '@app/config';
import { Mailer } from './mailer.js';
import { SmtpMailer } from './smtp-mailer.js';

/** Provides the {@link Mailer}: SMTP. */
@Global()
@Module({
  providers: [{ provide: Mailer, useFactory: (config: Config) => new SmtpMailer(config), inject: [Config] }],
  exports: [Mailer],
})
export class MailModule {}
