const MAX_DEPTH = 5;

const SECRETS: readonly [pattern: RegExp, replacement: string][] = [
  // An address as RFC 5322 writes it, loosely: better one word too many than one address.
  [/[^\s<>()[\],;:"'=@]+@[^\s<>()[\],;:"'=@]+/g, '[address]'],
  [/\b(token|password|secret|authorization)(["']?\s*[=:]\s*["']?)[^\s&"',}]+/gi, '$1$2[redacted]'],
  // Credentials in a connection URL.
  [/\/\/[^\s/@]+@/g, '//[redacted]@'],
];

/** Takes e-mail addresses and credentials out of a text that is to be logged or stored. */
export function scrub(text: string): string {
  return SECRETS.reduce((result, [pattern, replacement]) => result.replace(pattern, replacement), text);
}

/** What may be kept of an error: nothing that a library hung on it, such as SQL parameters or an SMTP envelope. */
export interface ErrorDescription {
  type: string;
  message: string;
  code?: string | number;
  stack?: string;
  cause?: ErrorDescription;
}

/** Describes whatever was thrown, an Error or not, without secrets or personal data. */
export function describeError(thrown: unknown, depth = 0): ErrorDescription {
  if (!(thrown instanceof Error)) {
    return { type: typeof thrown, message: scrub(typeof thrown === 'string' ? thrown : 'a value that is not an Error was thrown') };
  }
  const code = 'code' in thrown && (typeof thrown.code === 'string' || typeof thrown.code === 'number') ? thrown.code : undefined;
  return {
    type: thrown.constructor.name,
    message: scrub(thrown.message),
    ...(code !== undefined && { code }),
    ...(thrown.stack !== undefined && { stack: scrub(thrown.stack) }),
    ...(thrown.cause !== undefined && depth < MAX_DEPTH && { cause: describeError(thrown.cause, depth + 1) }),
  };
}
