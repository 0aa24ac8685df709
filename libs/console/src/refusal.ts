/** What is refused with a status of its own, in words for the operator. */
export class Refusal extends Error {
  /** @param status HTTP's. */
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}
