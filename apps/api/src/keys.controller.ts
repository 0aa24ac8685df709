import { Controller, Get, Header } from '@nestjs/common';
import { SigningKeys } from '@app/account';

/** The keys that access tokens can be checked with, for others. */
@Controller('.well-known')
export class KeysController {
  constructor(private readonly keys: SigningKeys) {}

  @Get('jwks.json')
  @Header('content-type', 'application/jwk-set+json')
  // A key is published for ten minutes before it signs.
  @Header('cache-control', 'public, max-age=300')
  async show(): Promise<string> {
    return JSON.stringify(await this.keys.publicKeys());
  }
}
