import { describe, expect, it } from 'vitest';
import { Config, InvalidEnvironment } from './config.js';
import { parseQueueWeights } from './queue-weights.js';

const problemsOf = (environment: Record<string, string>): string => {
  try {
    Config.parse(environment);
    return '';
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidEnvironment);
    return (error as Error).message;
  }
};

describe('Config', () => {
  it('needs nothing on a developer’s machine', () => {
    expect(Config.parse({})).toMatchObject({
      HTTP_PORT: 8080,
      GRPC_PORT: 9090,
      VERIFY_EMAIL_DELAY: 10_000,
      WORKER_SHUTDOWN_TIMEOUT: 10_000,
      QUEUE_WEIGHTS: {
        strict: false,
        queues: { critical: { weight: 10, min: 0 }, default: { weight: 5, min: 0 } },
      },
    });
  });

  it('finds on a developer’s machine what runs on other ports there', () => {
    const defaults = { DATABASE_URL: 'postgres://waybill:waybill@127.0.0.1:54329/waybill', SMTP_URL: 'smtp://127.0.0.1:1025' };
    expect(Config.parse({})).toMatchObject({ ...defaults, PUBLIC_URL: 'http://localhost:8080' });
    const moved = Config.parse({ POSTGRES_PORT: '5555', SMTP_PORT: '2525', HTTP_PORT: '8888', HOST: '192.0.2.7' });
    expect(moved).toMatchObject({
      DATABASE_URL: 'postgres://waybill:waybill@127.0.0.1:5555/waybill',
      SMTP_URL: 'smtp://127.0.0.1:2525',
      PUBLIC_URL: 'http://192.0.2.7:8888',
    });
    expect([moved.isSet('DATABASE_URL'), moved.isSet('HTTP_PORT')]).toEqual([false, true]);
    // What is set is what counts.
    const set = { DATABASE_URL: 'postgres://db/x', SMTP_URL: 'smtp://mail', PUBLIC_URL: 'https://waybill.example.com' };
    expect(Config.parse({ ...set, POSTGRES_PORT: '5555', SMTP_PORT: '2525', HTTP_PORT: '8888' })).toMatchObject(set);
    expect(problemsOf({ POSTGRES_PORT: 'x' })).toContain('  POSTGRES_PORT: ');
    expect(problemsOf({ NODE_ENV: 'production', POSTGRES_PORT: '5555', HTTP_PORT: '8888' })).toContain('  DATABASE_URL: must be set');
  });

  it('traces where an endpoint is said, by OpenTelemetry’s variables, which mean nothing where none is', () => {
    const foreign = { OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc', OTEL_TRACES_SAMPLER: 'xray', OTEL_BSP_MAX_QUEUE_SIZE: 'x' };
    expect(Config.parse(foreign).traces).toBeUndefined();
    const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://localhost:4318' };
    expect(Config.parse({ ...endpoint, OTEL_SDK_DISABLED: 'True' }).traces).toBeUndefined();
    expect(Config.parse({ ...endpoint, OTEL_TRACES_EXPORTER: 'console' }).traces).toBeUndefined();
    expect(Config.parse(endpoint).traces).toMatchObject({
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/protobuf',
      OTEL_TRACES_SAMPLER: 'parentbased_always_on',
    });
    const problems = problemsOf({ ...endpoint, ...foreign });
    for (const name of Object.keys(foreign)) expect(problems).toContain(`  ${name}: `);
    expect(problemsOf({ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'localhost:4318' })).toContain(
      '  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: must be a URL',
    );
  });

  it('lists every problem at once', () => {
    const message = problemsOf({
      DATABASE_URL: 'mysql://x',
      HTTP_PORT: '99999',
      VERIFY_EMAIL_DELAY: 'soon',
      QUEUE_WEIGHTS: 'critical=0',
      SECRET_KEY: 'c2hvcnQ=',
      LOG_LEVEL: 'loud',
    });
    for (const name of ['DATABASE_URL', 'HTTP_PORT', 'VERIFY_EMAIL_DELAY', 'QUEUE_WEIGHTS', 'SECRET_KEY', 'LOG_LEVEL']) {
      expect(message).toContain(`  ${name}: `);
    }
  });

  it('gives a worker a connection for each slot and some for the engine, unless it is told how many', () => {
    const size = (environment: Record<string, string>) => Config.parse(environment).workerPoolSize;
    expect([size({}), size({ WORKER_CONCURRENCY: '2' }), size({ WORKER_CONCURRENCY: '100' })]).toEqual([20, 10, 105]);
    expect([size({ DATABASE_POOL_SIZE: '3' }), size({ DATABASE_POOL_SIZE: '10' })]).toEqual([3, 10]);
    expect(Config.parse({}).DATABASE_POOL_SIZE).toBe(10);
  });

  it('takes a limit for statements that can be kept', () => {
    expect(Config.parse({}).DATABASE_STATEMENT_TIMEOUT).toBe(10_000);
    expect(Config.parse({ DATABASE_STATEMENT_TIMEOUT: '5m' }).DATABASE_STATEMENT_TIMEOUT).toBe(300_000);
    for (const none of ['0s', '2d', 'none'])
      expect(problemsOf({ DATABASE_STATEMENT_TIMEOUT: none })).toContain('DATABASE_STATEMENT_TIMEOUT');
  });

  it('takes a Redis address as host and port, or as a URL', () => {
    expect(Config.parse({ REDIS_ADDRESS: '0.0.0.0:6379' }).REDIS_ADDRESS).toBe('redis://0.0.0.0:6379');
    expect(Config.parse({ REDIS_ADDRESS: 'rediss://:secret@cache:6380/2' }).REDIS_ADDRESS).toBe('rediss://:secret@cache:6380/2');
    expect(Config.parse({ REDIS_ADDRESS: '' }).REDIS_ADDRESS).toBeUndefined();
    expect(problemsOf({ REDIS_ADDRESS: ':' })).toContain('REDIS_ADDRESS');
  });

  it('takes a PUBLIC_URL with a path, to whose root people are led unless APP_URL says where', () => {
    expect(Config.parse({ PUBLIC_URL: 'https://x.example/accounts/' })).toMatchObject({
      PUBLIC_URL: 'https://x.example/accounts',
      APP_URL: 'https://x.example/accounts/',
    });
    expect(Config.parse({ APP_URL: 'https://app.example/welcome?from=mail' }).APP_URL).toBe('https://app.example/welcome?from=mail');
    for (const url of ['https://x.example/?a=b', 'https://x.example/#a', 'ftp://x.example']) {
      expect(problemsOf({ PUBLIC_URL: url })).toContain('  PUBLIC_URL: ');
    }
    expect(problemsOf({ APP_URL: 'javascript:alert(1)' })).toContain('  APP_URL: ');
  });

  it('gives a source 100 sign-ups at once, and 30 a minute after that, unless it is told how many', () => {
    expect(Config.parse({})).toMatchObject({ SIGN_UP_BURST: 100, SIGN_UPS_PER_MINUTE: 30 });
    expect(Config.parse({ SIGN_UP_BURST: '5', SIGN_UPS_PER_MINUTE: '1' })).toMatchObject({ SIGN_UP_BURST: 5, SIGN_UPS_PER_MINUTE: 1 });
    for (const name of ['SIGN_UP_BURST', 'SIGN_UPS_PER_MINUTE']) {
      for (const text of ['0', '1.5', 'many']) expect(problemsOf({ [name]: text })).toContain(`  ${name}: `);
    }
  });

  it('reads which origins may call, and refuses what is none', () => {
    expect(Config.parse({}).CORS_ORIGINS).toEqual([]);
    expect(Config.parse({ CORS_ORIGINS: 'https://a.example, http://localhost:3000' }).CORS_ORIGINS).toEqual([
      'https://a.example',
      'http://localhost:3000',
    ]);
    for (const text of [
      '*',
      'https://a.example/',
      'a.example',
      'https://*.example',
      'https://a.example:443',
      'null',
      'https://A.example',
    ]) {
      expect([text, problemsOf({ CORS_ORIGINS: text })]).toEqual([text, expect.stringContaining('  CORS_ORIGINS: must be origins')]);
    }
  });

  it('reads which proxies are believed', () => {
    const trusted = (text: string) => Config.parse({ TRUST_PROXY: text }).TRUST_PROXY;
    expect([trusted(''), trusted('false'), trusted('true'), trusted('2')]).toEqual([false, false, true, 2]);
    expect(trusted('loopback, 10.0.0.0/8,2001:db8::/32,192.0.2.1')).toEqual(['loopback', '10.0.0.0/8', '2001:db8::/32', '192.0.2.1']);
    for (const text of ['0', 'yes', '10.0.0.0/33', '10.0.0', 'proxy.example.com', ',']) {
      expect(problemsOf({ TRUST_PROXY: text })).toContain('  TRUST_PROXY: ');
    }
  });

  it('refuses a developer’s defaults in production', () => {
    const message = problemsOf({
      NODE_ENV: 'production',
      SECRET_KEY: 'd2F5YmlsbC1kZXZlbG9wbWVudC1zZWNyZXQta2V5ISE=',
      CONSOLE_PASSWORD: 'waybill-operator',
    });
    for (const name of ['DATABASE_URL', 'SMTP_URL', 'MAIL_FROM', 'PUBLIC_URL', 'SECRET_KEY', 'CONSOLE_PASSWORD'])
      expect(message).toContain(`  ${name}: `);
  });

  it('refuses reservations beyond the slots, and a console without a password', () => {
    expect(problemsOf({ QUEUE_WEIGHTS: 'a=1:min=9,b=1:min=9', WORKER_CONCURRENCY: '15' })).toContain('reserves more slots');
    expect(() => Config.parse({ CONSOLE_PORT: '8090' }, 'app')).toThrow('  CONSOLE_PASSWORD: must be set where CONSOLE_PORT is');
    expect(Config.parse({ CONSOLE_PORT: '8090' }, 'command').CONSOLE_PORT).toBe(8090);
    expect(problemsOf({ CONSOLE_PASSWORD: 'too short' })).toContain('  CONSOLE_PASSWORD: must have at least 12');
    expect(problemsOf({ CONSOLE_READ_ONLY: 'yes' })).toContain('  CONSOLE_READ_ONLY: ');
  });
});

describe('parseQueueWeights', () => {
  it('reads weights, reservations and strictness', () => {
    expect(parseQueueWeights('strict:critical=10:min=2, default=5')).toEqual({
      strict: true,
      queues: { critical: { weight: 10, min: 2 }, default: { weight: 5, min: 0 } },
    });
  });

  it.each(['critical', 'critical=-1', 'critical=ten', 'critical=0', 'a=1,a=2', '', 'A=1', 'a=1,,b=2', 'a:b=1'])('refuses %j', (text) => {
    expect(() => parseQueueWeights(text)).toThrow();
  });
});
