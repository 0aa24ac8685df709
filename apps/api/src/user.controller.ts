import { Controller, UseInterceptors } from '@nestjs/common';
import { AccountDeletion, AccountService, EmailChanges, PasswordResets } from '@app/account';
import {
  type ChangeEmailRequest,
  type ChangePasswordRequest,
  type CreateUserRequest,
  type DeleteUserRequest,
  type GetUserRequest,
  type RequestPasswordResetRequest,
  type ResendVerificationEmailRequest,
  type ResetPasswordRequest,
  type UpdateUserRequest,
  UserService,
  type VerifyEmailRequest,
} from '@app/contract';
import { currentIdentity, Message, Rpc, RpcError } from '@app/rpc';
import { userMessage } from './messages.js';
import { SignUpProblems } from './sign-up-problems.interceptor.js';

/** account.v1.UserService, on both transports. */
@Controller()
export class UserController {
  constructor(
    private readonly accounts: AccountService,
    private readonly resets: PasswordResets,
    private readonly emailChanges: EmailChanges,
    private readonly deletion: AccountDeletion,
  ) {}

  @Rpc(UserService.method.createUser)
  @UseInterceptors(SignUpProblems)
  async createUser(@Message() request: CreateUserRequest) {
    return { user: userMessage(await this.accounts.signUp(request)) };
  }

  @Rpc(UserService.method.verifyEmail)
  async verifyEmail(@Message() { token }: VerifyEmailRequest) {
    return { user: userMessage(await this.accounts.verifyEmail(token)) };
  }

  @Rpc(UserService.method.resendVerificationEmail)
  async resendVerificationEmail(@Message() { email }: ResendVerificationEmailRequest) {
    await this.accounts.resendVerificationEmail(email);
    return {};
  }

  @Rpc(UserService.method.getUser)
  async getUser(@Message() _request: GetUserRequest) {
    return { user: userMessage(await this.accounts.get(currentIdentity().userId)) };
  }

  @Rpc(UserService.method.updateUser)
  async updateUser(@Message() { user, updateMask }: UpdateUserRequest) {
    const wrong = updateMask?.paths.find((path) => path !== 'full_name' && path !== '*');
    if (wrong !== undefined) throw RpcError.invalidArgument([{ field: 'update_mask', description: 'may name full_name alone' }]);
    const fullName = user?.fullName ?? '';
    const isAsked = fullName !== '' || (updateMask?.paths.length ?? 0) > 0;
    if (isAsked && fullName === '')
      throw RpcError.invalidArgument([{ field: 'user.full_name', description: 'must be at least 1 character' }]);
    const identity = currentIdentity();
    return { user: userMessage(await (isAsked ? this.accounts.rename(identity, fullName) : this.accounts.get(identity.userId))) };
  }

  @Rpc(UserService.method.changePassword)
  async changePassword(@Message() { currentPassword, newPassword }: ChangePasswordRequest) {
    await this.accounts.changePassword(currentIdentity(), currentPassword, newPassword);
    return {};
  }

  @Rpc(UserService.method.requestPasswordReset)
  async requestPasswordReset(@Message() { email }: RequestPasswordResetRequest) {
    await this.resets.request(email);
    return {};
  }

  @Rpc(UserService.method.resetPassword)
  async resetPassword(@Message() { token, newPassword }: ResetPasswordRequest) {
    await this.resets.redeem(token, newPassword);
    return {};
  }
  @Rpc(UserService.method.changeEmail)
  async changeEmail(@Message() { newEmail, currentPassword }: ChangeEmailRequest) {
    await this.emailChanges.request(currentIdentity(), newEmail, currentPassword);
    return {};
  }

  @Rpc(UserService.method.deleteUser)
  async deleteUser(@Message() { currentPassword }: DeleteUserRequest) {
    await this.deletion.delete(currentIdentity(), currentPassword);
    return {};
  }
}
