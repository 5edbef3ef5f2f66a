import type { Finding } from '#deploy/dev/doctor.ts';
import type { PortSpec } from '#deploy/dev/ports.ts';
import { documentText } from '../document.ts';
import { EXIT, type ExitCode } from '../exit-codes.ts';
import { type Look, lookFor } from '../render/look.ts';
import { displayWidth, padEnd, visibleLines, wrap } from '../render/text.ts';
import { print, withProgress } from '../terminal.ts';

/** Looks at what the local environment needs on this machine. Exit code: failed where anything is missing. */
export async function runDoctor(options: { readonly json?: true }): Promise<ExitCode> {
  // Loaded only here: the launcher is heavier than all the rest of this command.
  const [{ doctor }, { SERVICES }] = await Promise.all([
    import('#deploy/dev/doctor.ts'),
    import('#deploy/dev/stack.ts'),
  ]);
  const ports = Object.values<PortSpec | null>(SERVICES).filter((spec) => spec !== null);
  const findings = await withProgress('Looking around', doctor({ ports }));
  const ok = findings.every((finding) => finding.ok);
  print(options.json === true ? [documentText({ ok, findings })] : findingLines(findings, lookFor(process.stdout)));
  return ok ? EXIT.ok : EXIT.failed;
}

/** What was found, one line each, and below what is missing how to get it. */
export function findingLines(findings: readonly Finding[], look: Look): readonly string[] {
  const width = Math.max(0, ...findings.map(({ name }) => displayWidth(name)));
  const indent = ' '.repeat(width + 4);
  const column = (text: string): readonly string[] =>
    visibleLines(text).flatMap((line) => wrap(line, look.width - indent.length));
  const lines = findings.flatMap(({ name, ok, detail, fix }) => {
    const mark = ok ? look.paint.green('✓') : look.paint.red('✗');
    const [first = '', ...others] = column(detail);
    return [
      `${mark} ${padEnd(name, width)}  ${first}`,
      ...others.map((line) => indent + line),
      ...(fix === '' ? [] : column(fix).map((line) => indent + look.paint.yellow(line))),
    ];
  });
  const missing = findings.filter(({ ok }) => !ok).length;
  return [...lines, '', missing === 0 ? 'Nothing is missing.' : `${missing} of ${findings.length} need attention.`];
}
