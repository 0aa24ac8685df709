import { type CallHandler, type ExecutionContext, Injectable, type NestInterceptor } from '@nestjs/common';
import { AccountService } from '@app/account';
import { type CreateUserRequest, CreateUserRequestSchema } from '@app/contract';
import { isTransient } from '@app/postgres';
import { type FieldViolation, InvalidRequest, RpcError } from '@app/rpc';
import { catchError, type Observable } from 'rxjs';

/**
 * Adds to what is wrong with a sign-up by its contract what only the accounts can
 * tell of its other fields, so that a person mends all of it at once.
 */
@Injectable()
export class SignUpProblems implements NestInterceptor {
  constructor(private readonly accounts: AccountService) {}

  intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(
      catchError(async (error: unknown): Promise<never> => {
        if (!(error instanceof InvalidRequest)) throw error;
        throw RpcError.invalidArgument([...error.violations, ...(await this.problemsBeside(error))]);
      }),
    );
  }

  private async problemsBeside({ violations, request }: InvalidRequest): Promise<FieldViolation[]> {
    const wrong = new Set(violations.map(({ field }) => field));
    try {
      return await this.accounts.problemsOf(request as CreateUserRequest, (field) => !wrong.has(CreateUserRequestSchema.field[field].name));
    } catch (error) {
      // What is wrong by the contract can be told without the database.
      if (isTransient(error)) return [];
      throw error;
    }
  }
}
