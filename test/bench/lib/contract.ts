/** The generated messages of the contract, as they are built. */
type Contract = typeof import('../../../libs/contract/src/gen/account/v1/user_service_pb.js');

const built = new URL('../../../dist/libs/contract/src/gen/account/v1/user_service_pb.js', import.meta.url).href;
export const { CreateUserRequestSchema, VerifyEmailRequestSchema, VerifyEmailResponseSchema } = (await import(built)) as Contract;
