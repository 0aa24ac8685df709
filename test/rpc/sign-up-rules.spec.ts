import { CreateUserRequestSchema, ResendVerificationEmailRequestSchema } from '@app/contract';
import { messageFromJson, RpcError } from '@app/rpc';
import { describe, expect, it } from 'vitest';

const valid = { username: 'ada', fullName: 'Ada Lovelace', email: 'ada@example.com', password: 'correct horse' };

/** The rules that a request breaks, as the fields and words that its sender is told. */
function violations(schema: typeof CreateUserRequestSchema | typeof ResendVerificationEmailRequestSchema, request: Record<string, string>) {
  try {
    messageFromJson(schema, request);
    return [];
  } catch (error) {
    if (!(error instanceof RpcError)) throw error;
    return (error.toStatusJson()['details'] as { fieldViolations: { field: string; description: string }[] }[])[0]!.fieldViolations;
  }
}

describe('a full name', () => {
  it.each([
    "Zoë O'Brien",
    'O’Brien',
    '‘Abd al-Malik',
    'ʻOkina Kaʻiulani',
    'Sammy Davis, Jr.',
    'Smith, Jr.',
    'John Smith III',
    'Henry Ⅷ',
    'Jennifer 8. Lee',
    'José (Pepe) García',
    'Jean-Luc St. John',
    'Anne‐Marie',
    'Gal·la Plàcidia',
    'Nguyễn Thị Minh Khai',
    'Nguye\u0302\u0303n',
    'Łukasz Żółć',
    'Þórður Æsir',
    'Лев Толстой',
    'Νίκος Καζαντζάκης',
    'Գարեգին Նժդեհ',
    'გიორგი',
    'محمد بن سلمان',
    'علی\u200cرضا',
    'צה״ל ג׳ורג׳',
    '山田 太郎',
    '山田\u3000太郎',
    '葛\u{E0100}城',
    'マリー・キュリー',
    '𠮷野 家',
    '佐々木',
    '김철수',
    'सुब्रह्मण्यन् चन्द्रशेखर',
    'क्\u200dष',
    'মোঃ আব্দুল',
    'ශ්\u200dරී',
    'മോഹന്\u200d',
    'ก้องเกียรติ สุขใจ',
    'ኃይለ ሥላሴ',
    'ⵎⴰⵙⵙⵉⵏⵉⵙⵙⴰ',
    'Q',
    ' Ada ',
    '名'.repeat(100),
  ])('may be %s', (fullName) => {
    expect(violations(CreateUserRequestSchema, { ...valid, fullName })).toEqual([]);
  });

  const CHARACTERS = 'must contain only letters, digits, spaces, apostrophes, hyphens, dots, commas and parentheses';
  const INVISIBLE = 'must not contain invisible characters';
  const LETTER = 'must contain a letter';
  it.each([
    ['a space', ' ', LETTER],
    ['spaces', ' \u3000\u00A0', LETTER],
    ['signs', '-.,’()', LETTER],
    ['digits', '12345678', LETTER],
    ['marks alone', '\u0301\u0301', LETTER],
    ['HTML', '<b>Ada</b>', CHARACTERS],
    ['an address', 'ada@example.com', CHARACTERS],
    ['a web address', 'https://evil.example', CHARACTERS],
    ['a question', 'Ada?', CHARACTERS],
    ['an emoji', 'Ada 🦊', CHARACTERS],
    ['a tab', 'Ada\tLovelace', CHARACTERS],
    ['a line end', 'Ada\nLovelace', CHARACTERS],
    ['a line separator', 'Ada\u2028Lovelace', CHARACTERS],
    ['an escape', 'Ada\u001B[31m', CHARACTERS],
    ['a bidi override', 'Ada\u202Eecalevol', CHARACTERS],
    ['a bidi isolate', '\u2066Ada\u2069', CHARACTERS],
    ['a zero-width space', 'Ada\u200BLovelace', CHARACTERS],
    ['a byte-order mark', '\uFEFFAda', CHARACTERS],
    ['a word joiner', 'Ada\u2060', CHARACTERS],
    ['a soft hyphen', 'Love\u00ADlace', CHARACTERS],
    ['a tag', 'Ada\u{E0041}', CHARACTERS],
    ['a private character', 'Ada\uE000', CHARACTERS],
    ['a thin space', 'Ada\u2009Lovelace', CHARACTERS],
    ['a braille blank', 'Ada\u2800', CHARACTERS],
    ['a Hangul filler', '\u3164', INVISIBLE],
    ['a halfwidth Hangul filler', 'Ada\uFFA0', INVISIBLE],
    ['Hangul choseong filler', '\u115F\u1160', INVISIBLE],
    ['a grapheme joiner', 'A\u034Fda', INVISIBLE],
    ['a variation selector', 'Ada\uFE0F', INVISIBLE],
    ['a variation selector after a Latin letter', 'Ada\u{E0100}', INVISIBLE],
    ['a Khmer inherent vowel', 'ក\u17B4', INVISIBLE],
    ['a joiner between Latin letters', 'A\u200Dda', INVISIBLE],
    ['a joiner at its beginning', '\u200Cعلی', INVISIBLE],
    ['a joiner at its end', 'علی\u200C', INVISIBLE],
    ['two joiners', 'علی\u200C\u200Cرضا', INVISIBLE],
    ['a joiner before a space', 'علی\u200C رضا', INVISIBLE],
  ])('may not be or have %s', (_, fullName, description) => {
    expect(violations(CreateUserRequestSchema, { ...valid, fullName })).toContainEqual({ field: 'fullName', description });
  });
});

describe('an address', () => {
  const everywhere = (email: string) => [
    ...violations(CreateUserRequestSchema, { ...valid, email }),
    ...violations(ResendVerificationEmailRequestSchema, { email }),
  ];

  it.each([
    'ada@example.com',
    'a@b.co',
    'Ada.Lovelace+news@mail.example.co.uk',
    "o'brien@example.com",
    '_@example.com',
    'ada@xn--bcher-kva.example',
    'ada@example.xn--p1ai',
    'ada@1.example.com',
    `${'a'.repeat(64)}@example.com`,
  ])('may be %s', (email) => {
    expect(everywhere(email)).toEqual([]);
  });

  it.each([
    'root',
    'root@localhost',
    'a..b@x.com',
    '.a@x.com',
    'a.@x.com',
    '.@x.com',
    'a@.x.com',
    'a@x..com',
    'a@x.com.',
    'a@x',
    'a@x.c',
    'a@-x.com',
    'a@x-.com',
    'a@x.com-',
    'a@127.0.0.1',
    'a@[127.0.0.1]',
    'a@x.123',
    'a@b@x.com',
    'a b@x.com',
    '"a b"@x.com',
    ' a@x.com',
    'a@x.com\n',
    'a@x_y.com',
    'Ada <a@x.com>',
    'a@x.com,b@x.com',
    'ä@x.com',
    `${'a'.repeat(65)}@example.com`,
  ])('may not be %j', (email) => {
    const violation = { field: 'email', description: 'must be a valid email address' };
    expect(everywhere(email)).toEqual([violation, violation]);
  });
});

describe('the id of a request', () => {
  it.each(['', '0199c0de-0000-4000-8000-000000000001', '0199C0DE-0000-7000-8000-00000000000A'])('may be "%s"', (requestId) => {
    expect(violations(CreateUserRequestSchema, { ...valid, requestId })).toEqual([]);
  });

  it.each(['1', 'no UUID', '0199c0de000040008000000000000001', ' 0199c0de-0000-4000-8000-000000000001'])('may not be "%s"', (requestId) => {
    expect(violations(CreateUserRequestSchema, { ...valid, requestId })).toMatchObject([{ field: 'requestId' }]);
  });
});
