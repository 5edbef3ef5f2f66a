/** @param {boolean} tsx */
const typescript = (tsx) => [
  '@swc/jest',
  {
    sourceMaps: 'inline',
    module: { type: 'es6' },
    jsc: {
      target: 'es2024',
      parser: { syntax: 'typescript', tsx },
      // As Node strips types: an import without `type` stays, so a missing `type` fails here too.
      transform: { verbatimModuleSyntax: true, react: { runtime: 'automatic' } },
      experimental: { keepImportAttributes: true },
    },
  },
];

/** @type {import('jest').Config} */
export default {
  rootDir: import.meta.dirname,
  testMatch: ['**/*.test.ts', '**/*.test.tsx'],
  testPathIgnorePatterns: ['/node_modules/', '<rootDir>/.cache/', '<rootDir>/bench/peers/'],
  modulePathIgnorePatterns: ['<rootDir>/.cache/', '<rootDir>/bench/peers/'],
  extensionsToTreatAsEsm: ['.ts', '.tsx'],
  transform: { '\\.ts$': typescript(false), '\\.tsx$': typescript(true) },
  injectGlobals: false,
  testTimeout: 60_000,
  maxWorkers: 2,
  cacheDirectory: '<rootDir>/.cache/jest',
  reporters: ['default', '<rootDir>/scripts/jest-reporter.ts'],
};
