import type { Commands, Queries, Wire } from '../../libs/console/src/api.js';

/** An operator without a browser, who has logged in. */
export class ConsoleClient {
  private constructor(
    readonly origin: string,
    readonly cookie: string,
  ) {}

  static async logIn(origin: string, password: string, name = ''): Promise<ConsoleClient> {
    const answer = await postLogIn(origin, { username: 'operator', password, name });
    if (answer.status !== 303) throw new Error(`the console answered ${answer.status} to the log-in`);
    return new ConsoleClient(origin, answer.headers.getSetCookie()[0]!.split(';')[0]!);
  }

  /** Asks for whatever the page asks for, or has it do what the page can. */
  fetch(path: string, init: RequestInit = {}): Promise<Response> {
    return fetch(`${this.origin}${path}`, {
      redirect: 'manual',
      ...init,
      headers: { cookie: this.cookie, origin: this.origin, ...(init.headers as Record<string, string> | undefined) },
    });
  }

  async ask<Name extends keyof Queries>(name: Name, input: Queries[Name]['input']): Promise<Wire<Queries[Name]['answer']>> {
    const response = await this.fetch(`/api/${name}?input=${encodeURIComponent(JSON.stringify(input))}`);
    return answerOf(response) as Promise<Wire<Queries[Name]['answer']>>;
  }

  async command<Name extends keyof Commands>(name: Name, input: Commands[Name]['input']): Promise<Wire<Commands[Name]['answer']>> {
    const response = await this.post(name, input);
    return answerOf(response) as Promise<Wire<Commands[Name]['answer']>>;
  }

  post(name: string, input: unknown, headers: Record<string, string> = {}): Promise<Response> {
    return this.fetch(`/api/${name}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(input),
    });
  }
}

/** Sends the form of the log-in, as its own page does unless the headers say something else. */
export function postLogIn(origin: string, form: Record<string, string>, headers: Record<string, string> = { origin }): Promise<Response> {
  return fetch(`${origin}/login`, { method: 'POST', redirect: 'manual', headers, body: new URLSearchParams(form) });
}

async function answerOf(response: Response): Promise<unknown> {
  const answer: unknown = await response.json();
  if (!response.ok) throw new Error(`${response.status}: ${(answer as { message: string }).message}`);
  return answer;
}
