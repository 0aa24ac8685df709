import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));

/** The fault runs first: they take longest, and whatever comes last runs alone. */
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const isLong = ({ moduleId }: TestSpecification) => Number(moduleId.endsWith('faults.spec.ts'));
    return (await super.sort(files)).toSorted((a, b) => isLong(b) - isLong(a));
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
    // Two cores and real servers: more files at once only wait for each other.
    maxWorkers: 2,
    sequence: { sequencer: LongestFirst },
    testTimeout: 60_000,
    hookTimeout: 60_000,
    reporters: ['default'],
  },
});
