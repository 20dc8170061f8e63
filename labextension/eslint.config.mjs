import js from '@eslint/js';
import prettier from 'eslint-config-prettier';
import tseslint from 'typescript-eslint';

export default tseslint.config(
  { ignores: ['lib/', 'node_modules/', 'src/report.ts', 'src/panel/answers.ts', 'style/index.js'] },
  js.configs.recommended,
  {
    files: ['**/*.{ts,tsx}'],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      // a number in a template says itself; all else has to be put in words
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      // what enters the page does so as text: a report is data of unknown origin
      'no-restricted-properties': [
        'error',
        ...['innerHTML', 'outerHTML', 'insertAdjacentHTML', 'write'].map(property => ({
          property,
          message: 'Use textContent: nothing in a report may become markup.',
        })),
      ],
    },
  },
  { files: ['**/*.mjs'], languageOptions: { globals: { URL: 'readonly', console: 'readonly', process: 'readonly' } } },
  prettier
);
