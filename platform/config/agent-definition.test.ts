import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { isStewardError, type StewardError } from '#domain/errors.ts';
import { DEFAULT_LIMITS, DEFAULT_WAITS } from '#domain/run.ts';
import { MODELS } from '#platform/llm/models.ts';
import { agentHash, parseAgent } from './agent-definition.ts';
import { formatDuration, parseDuration, parseMicroUsd } from './amounts.ts';

const known = { knownModels: MODELS };

function refused(yaml: string): StewardError {
  try {
    parseAgent(yaml, known);
  } catch (error) {
    if (isStewardError(error)) return error;
    throw error;
  }
  throw new Error('was accepted');
}

const MINIMAL = 'name: helper\ninstructions: Help.\nmodel: offline-1\n';

test("the release closer's definition is valid", async () => {
  const yaml = await readFile(join(import.meta.dirname, '..', '..', 'agents', 'release-closer.yaml'), 'utf8');
  const agent = parseAgent(yaml, known);
  expect(agent).toMatchObject({
    name: 'release-closer',
    budgetMicroUsd: 500_000,
    limits: DEFAULT_LIMITS,
    waits: DEFAULT_WAITS,
  });
  expect(agent.instructions).toMatch(/^script: close-out-release$/m);
  expect(agent.tools.messaging).toEqual(['send_email']);
});

test("the order desk's definition is valid", async () => {
  const yaml = await readFile(join(import.meta.dirname, '..', '..', 'agents', 'order-desk.yaml'), 'utf8');
  expect(parseAgent(yaml, known)).toMatchObject({ name: 'order-desk', limits: DEFAULT_LIMITS });
});

test('what is left out has defaults', () => {
  expect(parseAgent(MINIMAL, known)).toEqual({
    name: 'helper',
    description: '',
    instructions: 'Help.',
    model: 'offline-1',
    maxOutputTokens: 4_096,
    tools: {},
    limits: DEFAULT_LIMITS,
    budgetMicroUsd: 500_000,
    waits: DEFAULT_WAITS,
  });
});

test('a window smaller than the model has is taken, one that is larger or has no room for an answer is not', () => {
  expect(parseAgent(`${MINIMAL}context:\n  max_tokens: 20000\n`, known)).toMatchObject({ contextTokens: 20_000 });
  const larger = refused(`${MINIMAL}context:\n  max_tokens: 200001\n`);
  expect(larger.message).toContain('context.max_tokens (line 5): must be at most 200000: offline-1 takes no more');
  const small = refused(`${MINIMAL}context:\n  max_tokens: 8000\n`);
  expect(small.message).toContain('must be at least 8192: an answer may take 4096 of them');
});

test('every fault is named with its path, its line and what to do', () => {
  const error = refused(`name: Not A Name
instructions: ''
modle: x
model: offline-1
max_output_tokens: 99999999
budget: 0.50
limits:
  model_calls: 0
  active_time: soon
  turns: 3
tools:
  projects: [get_task, Get-Task]
  Bad Catalog: [x]
`);
  expect(error.code).toBe('AGENT_INVALID');
  for (const line of [
    'name (line 1): must be 1 to 63 lower-case letters, digits and dashes, no dash first',
    'instructions (line 2): must be text of 1 to 50000 characters',
    'modle (line 3): is no key of a definition; known here: name, description,',
    'max_output_tokens (line 5): must be a whole number from 1 to 1000000',
    'budget (line 6): must be an amount in US dollars with its sign, such as $0.50',
    'limits.model_calls (line 8): must be a whole number from 1 to 10000',
    'limits.active_time (line 9): must be a duration from 1s to 30d, such as 90s, 30m, 12h, 7d',
    'limits.turns (line 10): is no key of a definition; known here: model_calls, tool_calls,',
    'tools.projects.1 (line 12): must be the name of a tool: lower-case letters, digits and _',
    'tools.Bad Catalog (line 13): must be the name of a catalog: lower-case letters, digits and dashes',
  ]) {
    expect(error.message).toContain(line);
  }
  expect(refused('{}').message).toContain('name: is missing; it must be a name');
});

test('an unknown model is refused with the known ones', () => {
  const error = refused(MINIMAL.replace('offline-1', 'gpt-9'));
  expect(error.code).toBe('MODEL_UNKNOWN');
  expect(error.message).toContain('offline-1');
  expect(refused(`${MINIMAL.replace('offline-1', 'gpt-9')}budget: x\n`).message).toContain(
    'model (line 3): is unknown',
  );
  expect(refused(`${MINIMAL}max_output_tokens: 64001\n`).message).toContain('offline-1 gives no more');
});

test('a fallback is a known model of another provider, and part of what is hashed', () => {
  const claude = MINIMAL.replace('offline-1', 'claude-sonnet-5-5');
  const agent = parseAgent(`${claude}fallback: gpt-6.1-sol\n`, known);
  expect(agent).toMatchObject({ model: 'claude-sonnet-5-5', fallback: 'gpt-6.1-sol' });
  expect(agentHash(agent, {})).not.toBe(agentHash(parseAgent(claude, known), {}));
  expect(parseAgent(claude, known)).not.toHaveProperty('fallback');
  expect(refused(`${claude}fallback: gpt-9\n`).message).toContain('fallback (line 4): is unknown; use one of: ');
  expect(refused(`${claude}fallback: claude-opus-5-5\n`).message).toContain(
    'fallback (line 4): must be of another provider than claude-sonnet-5-5',
  );
  expect(refused(`${claude}fallback: 7\n`).message).toContain('fallback (line 4): must be the exact id of a model');
  const short = claude.replace('claude-sonnet-5-5', 'claude-haiku-4-5');
  const most = `${claude.replace('claude-sonnet-5-5', 'gpt-6.1-sol')}fallback: claude-haiku-4-5\n`;
  expect(refused(`${most}max_output_tokens: 64001\n`).message).toContain('claude-haiku-4-5 gives no more');
  expect(refused(`${short}max_output_tokens: 64001\n`).message).toContain('claude-haiku-4-5 gives no more');
  const wide = `${most}context: {max_tokens: 200001}\n`;
  expect(refused(wide).message).toContain('must be at most 200000: claude-haiku-4-5 takes no more');
});

test('a tool name stands once over all catalogs', () => {
  const error = refused(`${MINIMAL}tools: {a: [x, y], b: [y]}\n`);
  expect(error.message).toContain('tools.b.0 (line 4): names y once more (it stands under a)');
});

test('what is no plain, bounded YAML is refused', () => {
  const bomb = `a: &a [1,1,1,1,1,1,1,1,1]\n${'bcdefgh'
    .split('')
    .map((key, index) => `${key}: &${key} [${Array(9).fill(`*${'abcdefg'[index]}`).join(',')}]`)
    .join('\n')}\n`;
  for (const yaml of [
    bomb,
    'name: a\nname: b\n',
    'name: !!js/function x\n',
    '--- a\n--- b\n',
    '- a\n- b\n',
    'just text',
    '',
    '__proto__: {x: 1}\n',
    `${MINIMAL}description: "a\\0b"\n`,
    `instructions: ${'x'.repeat(300_000)}\n`,
    '[[[[',
    `${'['.repeat(20_000)}`,
  ]) {
    expect(refused(yaml).code).toBe('AGENT_INVALID');
  }
});

test('money and durations are read exactly, and nothing else is', () => {
  const amounts = {
    '$0.50': 500_000,
    $1: 1_000_000,
    '$0.000001': 1,
    '$0.1': 100_000,
    '$999999.999999': 999_999_999_999,
  };
  for (const [text, micro] of Object.entries(amounts)) expect(parseMicroUsd(text)).toBe(micro);
  for (const text of ['0.5', '$', '$.5', '$1.', '$1.0000001', '$-1', '$1e3', '€1', '$1,000']) {
    expect(parseMicroUsd(text)).toBeNull();
  }
  const durations = { '7d': 604_800_000, '90s': 90_000, '1h30m': 5_400_000, '1d2h3m4s': 93_784_000 };
  for (const [text, ms] of Object.entries(durations)) expect(parseDuration(text)).toBe(ms);
  for (const text of ['', '7', 'd', '1.5h', '-1h', '1h 30m', '30m1h', '1w']) expect(parseDuration(text)).toBeNull();
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 999_999_999_999 }), (micro) => {
      const cents = `$${Math.floor(micro / 1e6)}.${String(micro % 1e6).padStart(6, '0')}`;
      return parseMicroUsd(cents) === micro;
    }),
  );
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 10_000_000 }), (s) => parseDuration(formatDuration(s * 1_000)) === s * 1_000),
  );
});

test('the hash is of the content: definition and pinned tools', () => {
  const one = parseAgent(MINIMAL, known);
  const hash = agentHash(one, { get_task: 'a' });
  expect(hash).toMatch(/^[0-9a-f]{64}$/);
  expect(agentHash(parseAgent(`# a comment\n${MINIMAL}`, known), { get_task: 'a' })).toBe(hash);
  expect(agentHash(one, { get_task: 'b' })).not.toBe(hash);
  expect(agentHash({ ...one, instructions: 'Help!' }, { get_task: 'a' })).not.toBe(hash);
});

test('an agent may say what is unusual for it, and leaves out what it leaves to the defaults', () => {
  expect(parseAgent(MINIMAL, known).anomalies).toBeUndefined();
  const yaml = `${MINIMAL}anomalies: { calls: 2.5, approvals_per_hour: 0 }\n`;
  expect(parseAgent(yaml, known).anomalies).toEqual({ calls: 2.5, approvalsPerHour: 0 });
  expect(refused(`${MINIMAL}anomalies: { calls: -1 }\n`).message).toContain('anomalies.calls (line 4): must be');
  expect(refused(`${MINIMAL}anomalies: { cals: 1 }\n`).message).toContain('known here: calls, cost');
});
