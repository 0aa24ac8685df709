/** The generated messages of the contract, as they are built. */
async function built<Messages>(service: string): Promise<Messages> {
  const url = new URL(`../../../dist/libs/contract/src/gen/account/v1/${service}_pb.js`, import.meta.url);
  return (await import(url.href)) as Messages;
}

type Users = typeof import('../../../libs/contract/src/gen/account/v1/user_service_pb.js');
type Sessions = typeof import('../../../libs/contract/src/gen/account/v1/session_service_pb.js');

export const { CreateUserRequestSchema, VerifyEmailRequestSchema, VerifyEmailResponseSchema } = await built<Users>('user_service');
export const { CreateSessionRequestSchema } = await built<Sessions>('session_service');
