import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));

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
    // Two cores and real servers: more files at once only wait for each other.
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    reporters: ['default'],
  },
});
