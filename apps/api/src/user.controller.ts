import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import { Controller, UseInterceptors } from '@nestjs/common';
import { AccountService, type User } from '@app/account';
import { type CreateUserRequest, type ResendVerificationEmailRequest, UserService, type VerifyEmailRequest } from '@app/contract';
import { Message, Rpc } from '@app/rpc';
import { SignUpProblems } from './sign-up-problems.interceptor.js';

/** account.v1.UserService, on both transports. */
@Controller()
export class UserController {
  constructor(private readonly accounts: AccountService) {}

  @Rpc(UserService.method.createUser)
  @UseInterceptors(SignUpProblems)
  async createUser(@Message() request: CreateUserRequest) {
    return { user: toMessage(await this.accounts.signUp(request)) };
  }

  @Rpc(UserService.method.verifyEmail)
  async verifyEmail(@Message() { token }: VerifyEmailRequest) {
    return { user: toMessage(await this.accounts.verifyEmail(token)) };
  }

  @Rpc(UserService.method.resendVerificationEmail)
  async resendVerificationEmail(@Message() { email }: ResendVerificationEmailRequest) {
    await this.accounts.resendVerificationEmail(email);
    return {};
  }
}

function toMessage({ username, fullName, email, isEmailVerified, createdAt }: User) {
  return { username, fullName, email, isEmailVerified, createdAt: timestampFromDate(createdAt) };
}
