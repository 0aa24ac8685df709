import { describe, expect, it } from 'vitest';
import { normalisePassword, passwordProblem } from './password-policy.js';

const ada = { username: 'countess', fullName: 'Ada King-Noël, Lovelace', email: 'a.lovelace+news@mail.example.com' };

describe('a password', () => {
  it.each([
    'correct horse',
    'correct horse battery',
    'a long enough password',
    'pass-p0a1b2c3d4e5',
    'the countess of lovelace',
    'ada and charles',
    '🦊🐺🦊🐺🦊🐺🦊🐺',
    'password for the poor',
    '        ',
    '73911846',
  ])('may be "%s"', async (password) => {
    expect(await passwordProblem(password, ada)).toBeUndefined();
  });

  it.each([
    'password',
    'PASSWORD',
    'Password1',
    '12345678',
    'qwertyuiop',
    'iloveyou',
    'trustno1',
    'sunshine',
    '１２３４５６７８',
    'ｐａｓｓｗｏｒｄ',
  ])('may not be "%s", which is among the most used', async (password) => {
    expect(await passwordProblem(password, ada)).toBe('is one of the most used passwords');
  });

  it.each([
    ['the username', 'countess'],
    ['the username in capitals', 'COUNTESS'],
    ['the username and digits', 'countess1815'],
    ['digits and signs around the username', '!1countess99!'],
    ['the full name', 'Ada King-Noël, Lovelace'],
    ['the full name without its signs', 'adakingnoëllovelace'],
    ['the full name with marks apart', 'ada king-noe\u0308l, lovelace'],
    ['a part of the name', 'Lovelace'],
    ['a short part of the name and digits', 'Ada12345'],
    ['the address', 'a.lovelace+news@mail.example.com'],
    ['what is before the @', 'a.lovelace+news'],
    ['what is before the @, and digits', 'a.lovelace+news2'],
    ['the name of the product', 'Waybill1!'],
  ])('may not be %s', async (_, password) => {
    expect(await passwordProblem(password, ada)).toBe('must not be your name or address');
  });

  it('that ends in the digits of the username is the username', async () => {
    expect(await passwordProblem('agent007', { ...ada, username: 'agent007' })).toBe('must not be your name or address');
    expect(await passwordProblem('agent00700', { ...ada, username: 'agent007' })).toBe('must not be your name or address');
  });

  it('is compared without the digits and signs around a name, and with those within it', async () => {
    const named = { ...ada, fullName: '«Jean-Luc» 2nd' };
    expect(await passwordProblem('123jean-luc» 2nd!!', named)).toBe('must not be your name or address');
    expect(await passwordProblem('123jean_luc» 2nd!!', named)).toBeUndefined();
  });

  it('is one text, however its letters were typed, and as long as that', async () => {
    expect(normalisePassword('e\u0301'.repeat(8))).toBe('é'.repeat(8));
    expect(await passwordProblem('e\u0301'.repeat(7), ada)).toBe('must be at least 8 characters');
  });
});
