import { AsyncLocalStorage } from 'node:async_hooks';
import type { TaskContext } from './task.js';

const scope = new AsyncLocalStorage<TaskContext>();

/** The task whose handler this code runs in, if it runs in one. */
export function currentTask(): TaskContext | undefined {
  return scope.getStore();
}

/** Makes `task` the current one for `work` and all that it calls. */
export function runInTask<T>(task: TaskContext, work: () => T): T {
  return scope.run(task, work);
}
