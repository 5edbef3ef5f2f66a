import { randomUUID } from 'node:crypto';
import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { JSONWebKeySet } from 'jose';
import { DEV_TENANT } from '#deploy/dev/schema.ts';
import type { ServiceName } from '#deploy/dev/stack.ts';
import { testKey } from '#test/support/identity.ts';
import { DESK, OLGA, type TestStack, testStack } from '#test/support/stack.ts';

type Env = Record<string, string>;

/** A Steward whose parts can be taken away one by one, and what runs on it. */
export interface FaultWorld {
  readonly test: TestStack;
  /** Read anew whenever a service is started. */
  readonly entries: Partial<Record<ServiceName, string>>;
  readonly serviceEnv: Partial<Record<ServiceName, Env>>;
  readonly baseEntries: Partial<Record<ServiceName, string>>;
  readonly baseEnv: Partial<Record<ServiceName, Env>>;
  /** Files of public keys that one service alone reads. */
  readonly keyFiles: { readonly executionGrants: string; readonly runGrants: string };
  /** A set of other keys under the ids of those in a file. */
  strangersKeys(path: string): Promise<string>;
  /** A file with a private key that nobody trusts. */
  strangersKeyFile(): Promise<string>;
  readonly agent: string;
  stop(): Promise<void>;
}

/** Brings it up; with `sabotage`, with the defective guard. */
export async function faultWorld(sabotage: 'closed' | null): Promise<FaultWorld> {
  const folder = await mkdtemp(join(tmpdir(), 'steward-fault-'));
  const keyFiles = { executionGrants: join(folder, 'execution.jwks'), runGrants: join(folder, 'run.jwks') };
  const baseEntries: FaultWorld['baseEntries'] =
    sabotage === 'closed' ? { guard: 'test/attacks/fault/open-guard.ts' } : {};
  const baseEnv: FaultWorld['baseEnv'] = {};
  const [entries, serviceEnv] = [{ ...baseEntries }, {} as FaultWorld['serviceEnv']];
  const test = await testStack({ entries, serviceEnv });
  // The services read copies of their own from here on.
  await copyFile(test.stack.secrets.guard.jwksPath, keyFiles.executionGrants);
  await copyFile(test.stack.secrets.runGrants.jwksPath, keyFiles.runGrants);
  baseEnv.projects = { STEWARD_EXECUTION_GRANT_JWKS: keyFiles.executionGrants };
  baseEnv.guard = { STEWARD_RUN_GRANT_JWKS: keyFiles.runGrants, FAULT_DATABASE_URL: test.stack.databaseUrl };
  for (const service of ['projects', 'guard'] as const) {
    serviceEnv[service] = { ...baseEnv[service] };
    await test.stack.restart(service);
  }
  const agent = await test.applyAgent();
  return {
    test,
    entries,
    serviceEnv,
    baseEntries,
    baseEnv,
    keyFiles,
    agent,
    async strangersKeys(path) {
      const ours = JSON.parse(await readFile(path, 'utf8')) as JSONWebKeySet;
      const keys = await Promise.all(
        ours.keys.map(async ({ kid }) => ({
          ...(await testKey()).jwks.keys[0],
          ...(kid === undefined ? {} : { kid }),
        })),
      );
      return JSON.stringify({ keys });
    },
    async strangersKeyFile() {
      const path = join(folder, `${randomUUID()}.jwk`);
      await writeFile(path, JSON.stringify((await testKey()).key), { mode: 0o600 });
      return path;
    },
    async stop() {
      await test.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** A run whose approved call waits for its resume: the approval stands, and the world may have changed since. */
export interface Armed {
  readonly run: string;
  readonly task: string;
}

/** Starts one, has it approved, and holds it back by a pause. */
export async function arm({ test, agent }: FaultWorld): Promise<Armed> {
  const task = `fault-${randomUUID().slice(0, 8)}`;
  await test.query(
    `insert into projects.tasks (tenant, id, project_id, title, status) values ($1, $2, 'apollo', $2, 'open')`,
    [DEV_TENANT, task],
  );
  const input = `params: ${JSON.stringify({ turns: [[{ tool: 'delete_task', args: { task_id: task } }]], final: 'Over.' })}`;
  const { id } = await test.start(agent, input);
  await test.until(id, (event) => event.kind === 'approval.asked');
  await test.as(OLGA).runs.pauseRun({ runId: id, requestId: randomUUID(), reason: 'hold' });
  await test.decide(id, 'approve');
  await test.until(id, (event) => event.kind === 'approval.decided');
  return { run: id, task };
}

export async function resume({ test }: FaultWorld, { run }: Armed): Promise<void> {
  await test.as(OLGA).runs.resumeRun({ runId: run, requestId: randomUUID() });
}

/** A run that creates one task of this title. Undefined where it could not even be started, which is no fault. */
export async function begin({ test, agent }: FaultWorld, title: string): Promise<string | undefined> {
  const turns = [[{ tool: 'create_task', args: { project_id: 'apollo', title } }]];
  const request = {
    requestId: randomUUID(),
    agent,
    input: `params: ${JSON.stringify({ turns, final: 'Over.' })}`,
  };
  const signal = AbortSignal.timeout(10_000);
  try {
    const { run } = await test.as(DESK).runs.startRun(request, { signal });
    return run?.id;
  } catch {
    return undefined;
  }
}
