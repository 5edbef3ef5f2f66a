import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type CheckResult, isHandWritten, listFiles } from './check-kit.ts';

const WARN_ABOVE = 300;
const FAIL_ABOVE = 400;
const SHOWN = 10;

/** File size: lists the ten longest hand-written .ts and .tsx files, warns above 300 lines and fails above 400. */
export async function checkSize(root: string): Promise<CheckResult> {
  const files = (await listFiles(root)).filter((file) => isHandWritten(file) && /\.tsx?$/.test(file));
  const sizes = files
    .map((file) => ({ file, lines: countLines(readFileSync(join(root, file), 'utf8')) }))
    .sort((a, b) => b.lines - a.lines || a.file.localeCompare(b.file));
  return {
    problems: sizes
      .filter(({ lines }) => lines > FAIL_ABOVE)
      .map(({ file, lines }) => `${file} has ${lines} lines, ${FAIL_ABOVE} are allowed; split it by what it does`),
    notes: sizes
      .filter(({ lines }, index) => index < SHOWN || lines > WARN_ABOVE)
      .map(({ file, lines }) => `${String(lines).padStart(5)} ${file}${lines > WARN_ABOVE ? '  (long)' : ''}`),
  };
}

function countLines(text: string): number {
  if (text === '') return 0;
  return text.split('\n').length - (text.endsWith('\n') ? 1 : 0);
}
