/** The longest text that {@link scrub} returns, in UTF-16 code units. */
export const MAX_TEXT = 8 * 1024;

/** The longest stack trace that is kept of an error, in UTF-16 code units. */
export const MAX_STACK = 16 * 1024;

/**
 * What a cut may leave of an address or of a password in a URL is known by no
 * pattern, so that much is dropped before the cut.
 */
const MARGIN = 512;
const CUT = '… [cut]';

/** What may stand in the local part of an address that is not quoted, loosely, its percent-encoded form included. */
const LOCAL = String.raw`[^\s<>()[\]{},;:"@\\/&?#|\`]`;
const DOMAIN = String.raw`(?:\[(?!address|redacted)[\w.:]{1,64}\]|[^\s<>()[\]{},;:"'@\\/&?#|\`=%]+)`;
/** `zod@4.6.7` is a package, and so is `typeorm@1.1.1_pg@8.23.1`: no domain ends in a number, and an IP address has four. */
const VERSION = String.raw`[~^]?\d+(?:\.\d+){0,2}(?:-(?:alpha|beta|canary|dev|next|pre|rc)(?:\.\d+)*)?(?![\w-]|\.[^\s_])`;
const PACKAGE = String.raw`(?:${VERSION}|[~^]?\d+(?:\.\d+){1,2}(?=_))`;

/** Names of fields and variables whose values are secrets, wherever in the name they stand. */
const SECRET_NAME = String.raw`pass(?:word|wd|phrase|code)|(?<![a-z])pass(?![a-z])|(?<![a-z])pwd|secret|token|authori[sz]ation|cookie|credential|_auth(?![a-z])|(?<![a-z])(?:sid|session_?id)(?![a-z])|(?:api|access|private|encryption|signing)[ _-]?key`;

/** Parameters of a URL that are secrets there, and ordinary words elsewhere. */
const SECRET_PARAMETER = 'code|key|otp|sig|signature|x-amz-signature';

/** Without one of these a text holds nothing that {@link PATTERNS} look for. Most texts of a log are such texts. */
const SUSPICIOUS = new RegExp(
  String.raw`[@%$]|${SECRET_NAME}|[?&#](?:${SECRET_PARAMETER})=|bearer|basic|auth |eyJ|AKIA|gh[opsru]_|PRIVATE KEY`,
  'i',
);

/** What ends a name: quotes, escaped ones too, and the bracket of Postgres's `Key (token)=(…)`. */
const NAME_END = String.raw`[\w-]{0,32}[\\"'\`\])]{0,4}`;
const SEPARATOR = String.raw`[ \t]{0,8}(?:=>|[=:]|%3[ad])`;

/** A value that is none, or is redacted. */
const NOT_YET = String.raw`(?!(?:null|undefined|true|false)(?:[\s,;)}\]]|$)|\\*["'\`]\[redacted\]|\[redacted\])`;

/**
 * Each takes time in proportion to the text: it begins at a fixed word or at the
 * beginning of a run, and what repeats is either consumed or bounded.
 */
const PATTERNS: readonly [pattern: RegExp, replacement: string | ((...match: string[]) => string)][] = [
  [/-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]{0,32}PRIVATE KEY-----|$)/g, '[redacted]'],
  // Credentials in a URL. A password may hold anything, so it ends at the last @; digits before a slash are a port.
  [/:\/\/(?!\[)[^\s/@:"'<>]{0,256}:(?!\d{0,5}(?:[/?#\s"'<>)]|$))[^\s"'<>]{0,256}@/g, '://[redacted]@'],
  [/\/\/[^\s/"'<>]+@/g, '//[redacted]@'],
  // In a URL a value ends at the next parameter, and a fragment is one, too.
  [
    new RegExp(String.raw`([?&#](?:[\w.-]{0,32}?(?:${SECRET_NAME})[\w-]{0,32}|${SECRET_PARAMETER})=)[^\s&#"'<>\`\\]*`, 'gi'),
    '$1[redacted]',
  ],
  // Quoted, a value ends at the same quote with as many backslashes, over lines; without one, at the end of the text.
  [
    new RegExp(String.raw`((?:${SECRET_NAME})${NAME_END}${SEPARATOR}\s{0,16})(\\*)(["'\`])[\s\S]*?(?:(?<!\\)\2\3|$)`, 'gi'),
    '$1$2$3[redacted]$2$3',
  ],
  // A header's ends with the line.
  [
    new RegExp(String.raw`((?:authori[sz]ation|cookie)${NAME_END}${SEPARATOR}[ \t]{0,8})${NOT_YET}(?:\[[^\]]*|\S)[^\r\n]*`, 'gi'),
    '$1[redacted]',
  ],
  // Not quoted, it may hold spaces: it ends with the line, or where the next name=value begins; a list not before its bracket.
  [
    new RegExp(
      String.raw`((?:${SECRET_NAME})${NAME_END}${SEPARATOR}[ \t]{0,8})${NOT_YET}(?:\[[^\]]*|\S)(?:(?![ \t&;,]{1,2}[\w.-]{1,32}=)[^\r\n])*`,
      'gi',
    ),
    '$1[redacted]',
  ],
  // Addresses, before what stands in one may look like a token. Those whose local part is quoted, as RFC 5322 and as MySQL quote it.
  [new RegExp(String.raw`\\?"(?:(?:[^"\\\n]|\\.){1,256}|[^"\n]{1,256})"@${DOMAIN}`, 'g'), '[address]'],
  [new RegExp(String.raw`'[^'\n]{1,256}'@'?${DOMAIN}'?`, 'g'), '[address]'],
  // The others, loosely: better one word too many than one address.
  [new RegExp(String.raw`(?<!${LOCAL})${LOCAL}+(?:@|%(?:25){0,2}40)(?!${PACKAGE})${DOMAIN}`, 'gi'), withoutAddress],
  [
    /\b((?:bearer|auth (?:plain|login|xoauth2))[ \t]{1,8})(?!(?:auth|authentication|authorization|credentials?|realm|scheme|tokens?)\b|\[redacted\])[^\s"',;]+/gi,
    '$1[redacted]',
  ],
  [
    /\b(basic[ \t]{1,8})([a-z0-9+/_-]{4,}={0,2})/gi,
    (all, scheme, value) => (Buffer.from(value!, 'base64').includes(':') ? `${scheme}[redacted]` : all!),
  ],
  // JSON in base64, of which JWTs are made; keys of well-known services; hashes of passwords.
  [/eyJ[\w-]{8,}(?:\.[\w-]*){0,4}/g, '[redacted]'],
  [/\b(?:AKIA[A-Z0-9]{16}|gh[opsru]_\w{16,}|github_pat_\w{16,})/g, '[redacted]'],
  [/\$(?:argon2\w{0,2}|2[abxy])\$[^\s"';)]+/g, '[redacted]'],
];

/** A name before an address is kept, `email=` for one, but not `bounce+ada=`, which is a part of it; so is a quote. */
function withoutAddress(found: string): string {
  return `${/^(?:[\w.]+=+)*'*/.exec(found)![0]}[address]`;
}

/** Whether the values of a field of this name are secrets, or somebody's address. */
export function isSecretName(name: string): boolean {
  return SECRET_FIELD.test(name);
}

const SECRET_FIELD = new RegExp(`${SECRET_NAME}|^(?:e[_-]?mail|full[_-]?name|payload|to)$`, 'i');

/**
 * Takes e-mail addresses and credentials out of a text that is to be logged or
 * stored, and makes it one that everybody can store: cut to a length, well-formed,
 * without U+0000. It takes time in proportion to `limit`, whatever the text.
 *
 * @param limit the longest result, in UTF-16 code units; more than 1,024.
 */
export function scrub(text: string, limit: number = MAX_TEXT): string {
  const isCut = text.length > limit;
  let result = (isCut ? text.slice(0, limit) : text).toWellFormed().replaceAll('\0', '\uFFFD');
  if (SUSPICIOUS.test(result)) {
    for (const [pattern, replacement] of PATTERNS) result = result.replace(pattern, replacement as string);
  }
  if (isCut) return result.slice(0, Math.min(Math.max(0, result.length - MARGIN), limit - CUT.length)).toWellFormed() + CUT;
  return result.length > limit ? result.slice(0, limit - CUT.length).toWellFormed() + CUT : result;
}
