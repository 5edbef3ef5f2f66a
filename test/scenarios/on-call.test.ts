import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { REPOSITORY } from '#deploy/dev/paths.ts';
import { type CliResult, runCli } from '#test/support/cli.ts';
import { OLGA, type TestStack, testStack } from '#test/support/stack.ts';

/** The practice of docs/runbooks/on-call.md, followed literally: every command of it, in its order. */

let s: TestStack;
let folder: string;

beforeAll(async () => {
  s = await testStack();
  folder = await mkdtemp(join(tmpdir(), 'steward-on-call-'));
}, 180_000);
afterAll(async () => {
  await s?.stop();
  await rm(folder, { recursive: true, force: true });
}, 60_000);

/** The words of a line as a shell would give them. */
function wordsOf(line: string): string[] {
  return [...line.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? '');
}

test('the on-call practice can be followed from its first line to its last', async () => {
  const guide = await readFile(join(REPOSITORY, 'docs/runbooks/on-call.md'), 'utf8');
  const lines = [...guide.matchAll(/```sh\n(.*?)```/gs)].flatMap(([, block]) => (block ?? '').trim().split('\n'));
  expect(lines.length).toBeGreaterThan(15);
  const ids: Record<string, string> = { RUN_API_KEYS: s.stack.secrets.runGrants.jwksPath };
  const env = {
    STEWARD_ADDRESS: s.stack.environment.runApi,
    STEWARD_GUARD_ADDRESS: s.stack.environment.guard,
    STEWARD_TOKEN: await s.token(OLGA),
    NO_COLOR: '1',
  };
  const said: { readonly line: string; readonly result: CliResult }[] = [];
  for (const line of lines) {
    const words = wordsOf(line).map((word) => ids[word] ?? word);
    expect(words[0]).toBe('steward');
    const args = words.slice(1).map((word) => {
      if (word === 'evidence.jsonl') return join(folder, word);
      return word.startsWith('agents/') ? join(REPOSITORY, word) : word;
    });
    const result = await runCli(['--timeout', '30s', ...args], { env, timeoutMs: 120_000 });
    said.push({ line, result });
    const refused = ids.SWITCH !== undefined && line.includes('run start');
    if (refused !== (result.code !== 0))
      throw new Error(`${line} ended with ${result.code}:\n${JSON.stringify(result)}`);
    if (refused) expect(result.stderr).toContain('kill switch is on for agent release-closer');
    const run = /steward run start/.test(line) ? /\b(01[0-9a-z]{24})\b/.exec(result.stdout)?.[1] : undefined;
    if (run !== undefined && ids.RUN === undefined) {
      ids.RUN = run;
      // It works for a while, until it has to ask.
      await s.until(run, (event) => event.kind === 'approval.asked', 60_000);
    }
    if (line === 'steward kill list') {
      ids.SWITCH = /\b([0-9a-f]{8}-[0-9a-f-]{27})\b/.exec(result.stdout)?.[1] ?? '';
      expect(ids.SWITCH).not.toBe('');
      await s.closed(ids.RUN ?? '');
    }
  }
  const of = (start: string, nth = 0) => said.filter(({ line }) => line.startsWith(start))[nth]?.result.stdout ?? '';
  expect(of('steward run get', 1)).toMatch(/cancelled/);
  expect(of('steward incident blast-radius')).toMatch(/projects\/update_task_status/);
  expect(of('steward incident verify')).toContain('Unchanged');
  expect(of('steward run undo')).toMatch(/undone/);
  expect(of('steward incident blast-radius --from 1h --run')).toMatch(
    /update_task_status +its catalog +(\d+) +0 +\1 +0/,
  );
  expect(of('steward audit search')).toContain('run.start');
  expect(of('steward investigate show')).toContain('aborted');
  const [undone] = await s.query<{ n: number }>(
    `select count(*)::int as n from steward.agent_run_undo_steps where run_id = $1 and state = 'undone'`,
    [ids.RUN],
  );
  expect(undone?.n).toBeGreaterThan(0);
}, 300_000);
