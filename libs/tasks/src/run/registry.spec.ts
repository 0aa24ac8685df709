import { Inject, Injectable, type Provider, Scope } from '@nestjs/common';
import { DiscoveryModule } from '@nestjs/core';
import { Test } from '@nestjs/testing';
import { EngineOptions } from '../options.js';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { TaskRegistry } from './registry.js';
import { Task, type TaskHandler } from '../declare/task.js';

@Injectable()
class Database {}

@Injectable({ scope: Scope.REQUEST })
class CurrentUser {}

@Injectable()
class Repository {
  constructor(readonly user: CurrentUser) {}
}

@Injectable({ scope: Scope.TRANSIENT })
class OwnLogger {
  constructor(readonly database: Database) {}
}

@Injectable({ scope: Scope.TRANSIENT })
class LoggerOfUser {
  constructor(readonly user: CurrentUser) {}
}

class Handler implements TaskHandler<unknown> {
  async handle(): Promise<void> {}
}

const task = Task({ type: 'test.any', payload: z.unknown() });

async function load(handler: Provider): Promise<TaskRegistry> {
  const module = await Test.createTestingModule({
    imports: [DiscoveryModule],
    providers: [
      handler,
      Database,
      CurrentUser,
      Repository,
      OwnLogger,
      LoggerOfUser,
      TaskRegistry,
      { provide: EngineOptions, useValue: new EngineOptions({ database: { url: 'postgres://nowhere' } }) },
    ],
  }).compile();
  const registry = module.get(TaskRegistry);
  registry.load();
  return registry;
}

describe('TaskRegistry', () => {
  it('knows a handler whose dependencies live as long as the worker, a transient one of its own included', async () => {
    @Injectable()
    @task
    class Static extends Handler {
      constructor(
        readonly database: Database,
        readonly logger: OwnLogger,
      ) {
        super();
      }
    }
    const handler = (await load(Static)).find('test.any')!.handler as Static;
    expect(handler.database).toBeInstanceOf(Database);
    expect(handler.logger.database).toBe(handler.database);
  });

  @Injectable({ scope: Scope.REQUEST })
  @task
  class RequestScoped extends Handler {}

  @Injectable({ scope: Scope.TRANSIENT })
  @task
  class Transient extends Handler {
    constructor(readonly database: Database) {
      super();
    }
  }

  @Injectable()
  @task
  class OfRequest extends Handler {
    constructor(readonly user: CurrentUser) {
      super();
    }
  }

  @Injectable()
  @task
  class OfRepository extends Handler {
    constructor(readonly repository: Repository) {
      super();
    }
  }

  @Injectable()
  @task
  class OfTransient extends Handler {
    @Inject(LoggerOfUser) readonly logger: LoggerOfUser;
  }

  it.each([RequestScoped, Transient, OfRequest, OfRepository, OfTransient])(
    'refuses %o, which Nest makes anew for every request',
    async (handler) => {
      await expect(load(handler)).rejects.toThrow(`the handler ${handler.name} of "test.any" is request-scoped or transient`);
    },
  );
});
