/** What an app provides to say whether it can serve at the moment; both transports' health checks ask it. */
export abstract class Readiness {
  /** Answers within a few seconds, and never throws. */
  abstract isReady(): Promise<boolean>;
}
