import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));

/**
 * Those that take longest, the first ones first: whatever begins last ends alone. The faults keep a core busy for their
 * first minute, so the life of tasks, where milliseconds matter, comes after others.
 */
const LONG = ['faults/faults', 'e2e/redis-outage', 'e2e/console', 'engine/lifecycle', 'e2e/shutdown', 'e2e/crashes'];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => LONG.findIndex((name) => moduleId.includes(`/test/${name}.`)) >>> 0;
    return (await super.sort(files)).toSorted((a, b) => rank(a) - rank(b));
  }
}

export default defineConfig({
  resolve: {
    alias: [
      { find: '@app/tasks/testing', replacement: path('./libs/tasks/src/testing/index.ts') },
      { find: /^@app\/([\w-]+)$/, replacement: path('./libs/$1/src/index.ts') },
    ],
  },
  test: {
    // As Nest's generators write their specs.
    globals: true,
    include: ['{apps,libs,test,examples}/**/*.spec.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    setupFiles: ['reflect-metadata'],
    pool: 'forks',
    // Loading the apps and their libraries anew for each file took a third of the processor's time; no file leaves anything behind.
    isolate: false,
    // Two more than the usual two cores: the long ones mostly wait.
    maxWorkers: 4,
    sequence: { sequencer: LongestFirst },
    testTimeout: 60_000,
    hookTimeout: 60_000,
    reporters: ['default'],
  },
});
