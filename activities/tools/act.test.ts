import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { fault, play, RECEIPT, type World, world } from '#test/support/act-world.ts';
import { type Row, workerBench } from '#test/support/worker-bench.ts';
import { CATALOG_ATTEMPTS, SHOWN_AFTER, STILL_RUNNING_SHOWN_AFTER } from './act.ts';

let bench: Awaited<ReturnType<typeof workerBench>>;

beforeAll(async () => {
  bench = await workerBench();
}, 120_000);

afterAll(async () => {
  await bench.stop();
});

const started = { state: 'started', attempts: 1 };

test.each<[string, World, Row]>([
  [
    'a fresh call is authorised and executed',
    { execute: () => RECEIPT },
    { end: 'done', asked: 'authorize execute', state: 'done' },
  ],
  [
    "a domain's no is told",
    { execute: () => ({ kind: 'refusal', code: 'LOCKED', message: 'locked' }) },
    { end: 'refused', asked: 'authorize execute', state: 'refused', code: 'LOCKED' },
  ],
  [
    "the guard's no is told, and nothing is sent",
    { authorize: () => fault('POLICY_DENIED') },
    { end: 'denied', asked: 'authorize', state: 'denied', code: 'POLICY_DENIED' },
  ],
  [
    'a paused run keeps the call as it is',
    { authorize: () => fault('WRONG_STATE', { status: 'paused' }) },
    { end: 'paused', asked: 'authorize', state: 'judged', told: [] },
  ],
  [
    'a closed run denies it',
    { authorize: () => fault('WRONG_STATE', { status: 'completed' }) },
    { end: 'denied', asked: 'authorize', code: 'WRONG_STATE' },
  ],
  [
    'a guard that is down decides nothing',
    { authorize: () => fault('UNAVAILABLE') },
    { end: 'retries UNAVAILABLE', state: 'judged' },
  ],
  [
    'a guard that is slow decides nothing',
    { authorize: () => fault('DEADLINE') },
    { end: 'retries DEADLINE', state: 'judged' },
  ],
  [
    'a catalog that the guard cannot ask is waited for',
    { authorize: () => fault('CATALOG_UNAVAILABLE') },
    { end: 'retries CATALOG_UNAVAILABLE', state: 'judged' },
  ],
  [
    '… but not for ever',
    { authorize: () => fault('CATALOG_UNAVAILABLE'), attempt: CATALOG_ATTEMPTS },
    { end: 'failed', state: 'failed', code: 'CATALOG_UNAVAILABLE' },
  ],
  [
    "the catalog's definite no to the attempt is told",
    { execute: () => fault('TOOL_CHANGED') },
    { end: 'failed', asked: 'authorize execute', state: 'failed', code: 'TOOL_CHANGED' },
  ],
  [
    'a cut connection is sent again',
    { execute: () => fault('CATALOG_UNAVAILABLE') },
    { end: 'retries CATALOG_UNAVAILABLE', asked: 'authorize execute', state: 'started', told: [] },
  ],
  [
    'a cut connection is settled in the end',
    { execute: () => fault('CATALOG_UNAVAILABLE'), settle: () => ({ kind: 'tombstone' }), attempt: CATALOG_ATTEMPTS },
    { end: 'failed', asked: 'authorize execute settle', state: 'failed', code: 'CATALOG_UNAVAILABLE' },
  ],
  [
    'a deadline is settled: it did not take place',
    { execute: () => fault('DEADLINE'), settle: () => ({ kind: 'tombstone' }) },
    { end: 'failed', asked: 'authorize execute settle', state: 'failed', code: 'DEADLINE' },
  ],
  [
    'a deadline is settled: it did take place',
    { execute: () => fault('DEADLINE'), settle: () => RECEIPT },
    { end: 'done', asked: 'authorize execute settle', state: 'done' },
  ],
  [
    'an answer that cannot be used is settled',
    { execute: () => fault('CATALOG_BROKEN'), settle: () => RECEIPT },
    { end: 'done', asked: 'authorize execute settle' },
  ],
  [
    'a status that no catalog should give is settled',
    { execute: () => fault('LIMIT_REACHED'), settle: () => ({ kind: 'tombstone' }) },
    { end: 'failed', asked: 'authorize execute settle' },
  ],
  [
    'a catalog that says CANCELLED without having been told to is settled, and the run goes on',
    { execute: () => fault('CANCELLED'), settle: () => ({ kind: 'tombstone' }) },
    { end: 'failed', asked: 'authorize execute settle' },
  ],
  [
    'where it cannot be settled nothing is told, and it is shown',
    { execute: () => fault('DEADLINE'), settle: () => fault('CATALOG_UNAVAILABLE') },
    { end: 'retries OUTCOME_UNKNOWN', state: 'outcome_unknown', code: 'OUTCOME_UNKNOWN', told: [] },
  ],
  [
    'a catalog that settles without settling is not believed',
    { execute: () => fault('DEADLINE'), settle: () => ({ kind: 'nothing' }) },
    { end: 'retries OUTCOME_UNKNOWN', state: 'outcome_unknown', told: [] },
  ],
  [
    'an effect in doubt is not known',
    { execute: () => fault('DEADLINE'), settle: () => ({ kind: 'in_doubt', running: false, repeatable: false }) },
    { end: 'retries OUTCOME_UNKNOWN', state: 'outcome_unknown', told: [] },
  ],
])('%s', async (_, say, expected) => {
  expect(await play(bench, say)).toMatchObject(expected);
});

const begun = { begun: true, columns: started } satisfies World;

test.each<[string, World, Row]>([
  [
    'a call that was begun with its verdict is executed, and the guard is not asked again',
    { ...begun, execute: () => RECEIPT },
    { end: 'done', asked: 'execute', state: 'done', attempts: 1 },
  ],
  [
    'where it fails for now the next attempt looks first',
    { ...begun, execute: () => fault('CATALOG_UNAVAILABLE') },
    { end: 'retries CATALOG_UNAVAILABLE', asked: 'execute', state: 'started', told: [] },
  ],
  [
    'where its outcome is open it is settled',
    { ...begun, execute: () => fault('DEADLINE'), settle: () => ({ kind: 'tombstone' }) },
    { end: 'failed', asked: 'execute settle', state: 'failed' },
  ],
  [
    'an attempt that is not the first does not know that nothing was sent',
    { ...begun, attempt: 2, look: () => ({ kind: 'nothing' }), execute: () => RECEIPT },
    { end: 'done', asked: 'look authorize execute', attempts: 2 },
  ],
  [
    "a no says nothing of an attempt that was let begin meanwhile: that one's effect is told",
    {
      ...begun,
      overtaken: true,
      execute: () => ({ kind: 'refusal', code: 'LOCKED', message: 'locked' }),
      settle: () => RECEIPT,
    },
    { end: 'done', asked: 'execute settle', state: 'done' },
  ],
  [
    '… and the no stands where that one will have none',
    { overtaken: true, execute: () => fault('TOOL_CHANGED'), settle: () => ({ kind: 'tombstone' }) },
    { end: 'failed', asked: 'authorize execute settle', state: 'failed', code: 'TOOL_CHANGED' },
  ],
  [
    'nor does one of another process',
    { columns: started, look: () => ({ kind: 'nothing' }), execute: () => RECEIPT },
    { end: 'done', asked: 'look authorize execute', attempts: 2 },
  ],
])('%s', async (_, say, expected) => {
  expect(await play(bench, say)).toMatchObject(expected);
});

test.each<[string, World, Row]>([
  [
    'a receipt is told without asking the guard',
    { look: () => RECEIPT },
    { end: 'done', asked: 'look', state: 'done' },
  ],
  [
    'a tombstone is told',
    { look: () => ({ kind: 'tombstone' }) },
    { end: 'failed', asked: 'look', code: 'TOMBSTONED' },
  ],
  [
    'where nothing is known it is authorised and sent again',
    { look: () => ({ kind: 'nothing' }), execute: () => ({ ...RECEIPT, repeated: true }) },
    { end: 'done', asked: 'look authorize execute', attempts: 2 },
  ],
  [
    'an effect with a key is sent again',
    { look: () => ({ kind: 'in_doubt', running: false, repeatable: true }), execute: () => RECEIPT },
    { end: 'done', asked: 'look authorize execute' },
  ],
  [
    'an effect without a key never is',
    {
      look: () => ({ kind: 'in_doubt', running: false, repeatable: false }),
      settle: () => ({ kind: 'in_doubt', running: false, repeatable: false }),
    },
    { end: 'retries OUTCOME_UNKNOWN', asked: 'look settle', state: 'outcome_unknown', told: [] },
  ],
  [
    'one that still runs is waited for, and nobody is alarmed',
    { look: () => ({ kind: 'in_doubt', running: true, repeatable: true }), attempt: 30 },
    { end: 'retries OUTCOME_UNKNOWN', asked: 'look', state: 'started', told: [] },
  ],
  [
    'one that runs for longer than any tool may is shown',
    { look: () => ({ kind: 'in_doubt', running: true, repeatable: true }), attempt: STILL_RUNNING_SHOWN_AFTER },
    { end: 'retries OUTCOME_UNKNOWN', asked: 'look', state: 'outcome_unknown', told: [] },
  ],
  [
    'a catalog that cannot be asked is asked again',
    { look: () => fault('CATALOG_UNAVAILABLE') },
    { end: 'retries CATALOG_UNAVAILABLE', asked: 'look', state: 'started', told: [] },
  ],
  [
    '… and after a while it is shown, and still nothing is told',
    { look: () => fault('CATALOG_UNAVAILABLE'), attempt: SHOWN_AFTER },
    { end: 'retries CATALOG_UNAVAILABLE', asked: 'look', state: 'outcome_unknown', told: [] },
  ],
  [
    'a catalog that will not say leaves the outcome open, and does not end the run',
    { look: () => fault('GRANT_INVALID'), settle: () => fault('GRANT_INVALID') },
    { end: 'retries OUTCOME_UNKNOWN', asked: 'look settle', state: 'outcome_unknown', told: [] },
  ],
  [
    'a catalog that claims to be cancelled does not stop the run',
    { look: () => fault('CANCELLED'), settle: () => fault('CANCELLED') },
    { end: 'retries OUTCOME_UNKNOWN', asked: 'look settle', told: [] },
  ],
  [
    "the guard's no is told once the earlier attempt is settled",
    { look: () => ({ kind: 'nothing' }), authorize: () => fault('KILLED'), settle: () => ({ kind: 'tombstone' }) },
    { end: 'denied', asked: 'look authorize settle', state: 'denied', code: 'KILLED' },
  ],
  [
    '… whose effect is told instead, where it arrived meanwhile',
    { look: () => ({ kind: 'nothing' }), authorize: () => fault('KILLED'), settle: () => RECEIPT },
    { end: 'done', asked: 'look authorize settle', state: 'done' },
  ],
  [
    "a domain's no is told once no earlier attempt can still take effect",
    {
      look: () => ({ kind: 'nothing' }),
      execute: () => ({ kind: 'refusal', code: 'LOCKED', message: 'locked' }),
      settle: () => ({ kind: 'tombstone' }),
    },
    { end: 'refused', asked: 'look authorize execute settle', state: 'refused', code: 'LOCKED' },
  ],
  [
    "a catalog's no to this attempt says nothing of the earlier one",
    { look: () => ({ kind: 'nothing' }), execute: () => fault('GRANT_EXPIRED'), settle: () => RECEIPT },
    { end: 'done', asked: 'look authorize execute settle', state: 'done' },
  ],
  [
    'a pause leaves what an earlier attempt began as it is',
    { look: () => ({ kind: 'nothing' }), authorize: () => fault('WRONG_STATE', { status: 'paused' }) },
    { end: 'paused', asked: 'look authorize', state: 'started', told: [] },
  ],
])('after an earlier attempt: %s', async (_, say, expected) => {
  expect(await play(bench, { columns: started, ...say })).toMatchObject(expected);
});

test('a call that has ended is told again without asking anybody', async () => {
  for (const [state, outcome] of [
    ['done', 'done'],
    ['refused', 'refused'],
    ['denied', 'denied'],
    ['failed', 'failed'],
    ['cancelled', 'failed'],
  ]) {
    expect(await play(bench, { columns: { state, attempts: 1 } })).toMatchObject({ end: outcome, asked: '' });
  }
});

test('a call that was never judged, or with another digest, is not run', async () => {
  const { run, end } = await play(bench, { columns: { digest: 'e'.repeat(64) } });
  expect(end).toBe('fails DIGEST_MISMATCH');
  const made = await world(bench, {}, run);
  await bench.database.query('delete from steward.agent_run_tool_invocations where run_id = $1', [run.ref.run]);
  await expect(made.act()).rejects.toMatchObject({ type: 'NOT_FOUND', nonRetryable: true });
});
