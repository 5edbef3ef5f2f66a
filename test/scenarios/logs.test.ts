import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { LONGEST_LINE } from '#platform/telemetry/redact.ts';
import { traceIdOf } from '#platform/telemetry/trace.ts';
import { BEN, DESK, OLGA, type TestStack, testStack } from '../support/stack.ts';

/** What the processes of Steward write down while they work: all of it JSON, about the run, and nobody's business. */

const SERVICES = [
  'run-api',
  'guard',
  'worker',
  'projects',
  'messaging',
  'orders',
  'offline-model',
  'mail-sink',
] as const;
const debug = { STEWARD_LOG_LEVEL: 'debug' };

let s: TestStack;

beforeAll(async () => {
  s = await testStack({ serviceEnv: Object.fromEntries(SERVICES.map((name) => [name, debug])) });
}, 120_000);

afterAll(() => s?.stop(), 60_000);

type Line = Readonly<Record<string, unknown>>;

async function rawLines(): Promise<{ readonly file: string; readonly text: string }[]> {
  const files = (await readdir(s.paths.logs)).filter((file) => SERVICES.some((name) => file === `${name}.log`));
  const all = await Promise.all(
    files.map(async (file) =>
      (await readFile(join(s.paths.logs, file), 'utf8'))
        .trimEnd()
        .split('\n')
        .map((text) => ({ file, text })),
    ),
  );
  return all.flat().filter(({ text }) => !text.startsWith('STEWARD_READY '));
}

test('every line is JSON with its ids, and no secret and no word of the work is in any', async () => {
  const word = (name: string) => `zq-${name}-words-nobody-may-log`;
  const turns = [
    [{ tool: 'get_task', args: { task_id: word('refused') } }],
    [{ tool: 'get_task', args: { task_id: 7, [word('key')]: word('invalid') } }],
    [
      { tool: 'create_task', args: { project_id: 'apollo', title: word('title') } },
      { tool: 'delete_task', args: { task_id: 'apl-105' } },
      { tool: 'send_email', args: { to: ['ada@acme.example'], subject: word('subject'), body: word('body') } },
    ],
  ];
  const params = { turns, final: word('final'), thinking: word('thinking') };
  const run = await s.start(await s.applyAgent(), `${word('input')}\nparams: ${JSON.stringify(params)}`);
  for (let asked = 0; asked < 2; asked += 1) {
    await s.until(run.id, (event) => event.kind === 'approval.asked' && event.sequence > 0n);
    await s.decide(run.id, asked === 0 ? 'approve' : 'deny', BEN).catch(() => undefined);
  }
  await s.closed(run.id);
  const failing = await s.start(
    await s.applyAgent({ script: 'overloaded' }),
    `${word('input')}\nparams: {"attempts": 1}`,
  );
  await s.closed(failing.id);
  await expect(s.as(OLGA).runs.getRun({ runId: 'nobody-has-it' })).rejects.toMatchObject({ code: 'NOT_FOUND' });

  const lines = await rawLines();
  const parsed = lines.map(({ text }): Line => JSON.parse(text) as Line);
  expect(parsed.length).toBeGreaterThan(40);
  for (const line of parsed) {
    expect(line).toMatchObject({
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      level: expect.stringMatching(/^(debug|info|warn|error|fatal)$/),
      service: expect.any(String),
      msg: expect.any(String),
    });
  }
  expect(Math.max(...lines.map(({ text }) => text.length))).toBeLessThan(LONGEST_LINE + 1);

  const trace = traceIdOf(run.id);
  const about = parsed.filter((line) => line.run === run.id);
  expect(about.filter((line) => line.trace !== trace || line.tenant !== 'acme')).toEqual([]);
  expect(new Set(about.map((line) => line.service))).toEqual(
    new Set(['run-api', 'guard', 'worker', 'projects', 'messaging']),
  );
  expect(about).toContainEqual(expect.objectContaining({ service: 'run-api', msg: 'run accepted' }));
  expect(about).toContainEqual(expect.objectContaining({ service: 'guard', msg: 'decision recorded', call: '3.1' }));
  expect(about).toContainEqual(expect.objectContaining({ service: 'worker', msg: 'run closed', status: 'completed' }));
  expect(about).toContainEqual(
    expect.objectContaining({ service: 'projects', rpc: expect.stringMatching(/Execute$/), call: '3.0' }),
  );
  // The attempt that the provider turned away: the worker says so, with the code.
  expect(parsed.filter((line) => line.run === failing.id)).toContainEqual(
    expect.objectContaining({
      service: 'worker',
      level: 'warn',
      err: expect.objectContaining({ code: 'MODEL_OVERLOADED' }),
    }),
  );

  const text = lines.map((line) => line.text).join('\n');
  const rows = await s.query<{ run_grant: string }>('select run_grant from steward.agent_runs');
  const tokens = await Promise.all([DESK, BEN, OLGA].map((who) => s.token(who)));
  const { passwords, guard, runGrants, tokens: keys } = s.stack.secrets;
  const files = [guard.privatePath, runGrants.privatePath];
  const privates = await Promise.all(
    files.map(async (file) => (JSON.parse(await readFile(file, 'utf8')) as { d: string }).d),
  );
  const secrets = [
    ...rows.map((row) => row.run_grant),
    ...tokens,
    ...privates,
    String((keys.privateJwk as { d?: unknown }).d),
    ...Object.values(passwords),
    (await readFile(s.stack.secrets.serviceTokenFile, 'utf8')).trim(),
  ];
  expect(secrets.filter((secret) => secret === '' || text.includes(secret))).toEqual([]);
  expect(text.match(/zq-[a-z]+-words/g)).toBeNull();
  // Grants and tokens are JWTs, however they came there.
  expect(text.match(/eyJ[\w-]{10,}/g)).toBeNull();
}, 120_000);
