const MIN_LENGTH = 8;

/** Parts of a name that are shorter are no secret anybody would rely on, nor one worth refusing. */
const MIN_WORD_LENGTH = 3;

/** The name of the product, which is everybody's first guess. */
const PRODUCT = 'waybill';

/** Whose password it is to be. */
interface PasswordOwner {
  readonly username: string;
  readonly fullName: string;
  readonly email: string;
}

let mostUsed: Promise<ReadonlySet<string>> | undefined;

/** The most used and breached passwords that are long enough to be one, folded: some 18,000, in about 3 MB. Loaded when first needed. */
function mostUsedPasswords(): Promise<ReadonlySet<string>> {
  return (mostUsed ??= import('@zxcvbn-ts/language-common').then(
    ({ default: { dictionary } }) => new Set(dictionary['passwords-common'].filter((password) => password.length >= MIN_LENGTH).map(fold)),
  ));
}

/** A password as it is hashed and compared: keyboards write the same character in several ways. */
export function normalisePassword(password: string): string {
  return password.normalize('NFC');
}

/**
 * What is wrong with a password that its form does not tell: it is the person's own
 * name or address, whatever digits and signs are put before or after it, or among
 * the most used ones.
 *
 * @returns words for the person; undefined when nothing is wrong.
 */
export async function passwordProblem(password: string, { username, fullName, email }: PasswordOwner): Promise<string | undefined> {
  // Fewer than the contract has counted, where letters came apart from their marks.
  if ([...normalisePassword(password)].length < MIN_LENGTH) return `must be at least ${MIN_LENGTH} characters`;
  const folded = fold(password);
  const [localPart = ''] = email.split('@');
  const own = [username, fullName, fullName.replace(/\P{L}/gu, ''), ...fullName.split(/[^\p{L}\p{M}]+/u), email, localPart, PRODUCT];
  const guesses = new Set(own.map(fold).flatMap((text) => [text, core(text)]));
  const isOwn = [folded, core(folded)].some((text) => text.length >= MIN_WORD_LENGTH && guesses.has(text));
  if (isOwn) return 'must not be your name or address';
  return (await mostUsedPasswords()).has(folded) ? 'is one of the most used passwords' : undefined;
}

/** One spelling for what looks or sounds alike. */
function fold(text: string): string {
  return text.normalize('NFKC').toLowerCase();
}

/** Without the digits and signs around it: from the first letter to the last. In linear time, which a pattern of what is to go would not take. */
function core(text: string): string {
  return /\p{L}(?:.*[\p{L}\p{M}])?/su.exec(text)?.[0] ?? '';
}
