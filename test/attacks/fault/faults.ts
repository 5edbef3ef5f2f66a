import { copyFile, rename, rm, writeFile } from 'node:fs/promises';
import { DEV_TENANT } from '#deploy/dev/schema.ts';
import type { ServiceName } from '#deploy/dev/stack.ts';
import type { FaultWorld } from './world.ts';

/** One thing that Steward decides by, and how it is taken away or made to lie. */
export interface Fault {
  readonly name: string;
  readonly what: string;
  /**
   * What must not happen: effects of any kind; those that needed an approval, where nothing else is unknown; or model
   * calls, where a call that was judged before may take place.
   */
  readonly forbids: 'effects' | 'approved effects' | 'model calls';
  /** False where effects cannot be counted while it holds, nor take place. */
  readonly readable?: false;
  begin(world: FaultWorld): Promise<void>;
  end(world: FaultWorld): Promise<void>;
}

/** A role may not do something with a table any more, as if it were not there. */
function withoutGrant(name: string, what: string, grant: string, forbids: Fault['forbids'] = 'effects'): Fault {
  const [privileges, table, role] = grant.split('|') as [string, string, string];
  return {
    name,
    what,
    forbids,
    begin: ({ test }) => test.query(`revoke ${privileges} on ${table} from ${role}`).then(() => undefined),
    end: ({ test }) => test.query(`grant ${privileges} on ${table} to ${role}`).then(() => undefined),
  };
}

/** The same for a process that has read nothing before. */
function afresh(service: ServiceName, fault: Fault): Fault {
  return {
    ...fault,
    async begin(world) {
      await fault.begin(world);
      await world.test.stack.restart(service);
    },
  };
}

/** A standing switch that cannot be understood, in place of one that can. */
function switchesLie(name: string, what: string, scope: string, action: string): Fault {
  return {
    name,
    what,
    forbids: 'effects',
    async begin({ test }) {
      for (const { conname } of await test.query<{ conname: string }>(
        "select conname from pg_constraint where conrelid = 'steward.kill_switches'::regclass and contype = 'c'",
      )) {
        await test.query(`alter table steward.kill_switches drop constraint ${conname}`);
      }
      await test.query(
        `insert into steward.kill_switches (tenant, id, scope, target, mode, action, reason, set_by)
         values ($1, $2, $3, '', 'kill', $4, 'fault', 'nobody')`,
        [DEV_TENANT, name, scope, action],
      );
    },
    end: ({ test }) => test.query('delete from steward.kill_switches where id = $1', [name]).then(() => undefined),
  };
}

function killed(service: ServiceName, what: string): Fault {
  return {
    name: `${service}-down`,
    what,
    forbids: 'effects',
    async begin({ test }) {
      const { pid, exited } = test.stack.service(service);
      process.kill(pid, 'SIGKILL');
      await exited;
    },
    end: ({ test }) => test.stack.restart(service).then(() => undefined),
  };
}

function frozen(service: ServiceName, what: string): Fault {
  return {
    name: `${service}-hangs`,
    what,
    forbids: 'effects',
    async begin({ test }) {
      process.kill(test.stack.service(service).pid, 'SIGSTOP');
    },
    async end({ test }) {
      process.kill(test.stack.service(service).pid, 'SIGCONT');
    },
  };
}

/** A service finds no keys where they were, or a stranger's under the ids of ours. */
function keys(service: ServiceName, file: keyof FaultWorld['keyFiles'], how: 'gone' | 'lie'): Fault {
  return {
    name: `${service}-keys-${how}`,
    what: how === 'gone' ? `${service} cannot read the keys it verifies by` : `${service} is given a stranger's keys`,
    forbids: 'effects',
    async begin(world) {
      const path = world.keyFiles[file];
      await copyFile(path, `${path}.kept`);
      if (how === 'gone') await rm(path);
      else await writeFile(path, await world.strangersKeys(path));
      // What it has read before counts for some seconds: a fresh process has read nothing.
      await world.test.stack.restart(service);
    },
    async end(world) {
      const path = world.keyFiles[file];
      await rename(`${path}.kept`, path);
      await world.test.stack.restart(service);
    },
  };
}

/** Another program in the place of a service. */
function replaced(
  service: ServiceName,
  name: string,
  what: string,
  change: { readonly entry?: string; readonly env?: (world: FaultWorld) => Promise<Record<string, string>> },
): Fault {
  return {
    name,
    what,
    forbids: 'effects',
    async begin(world) {
      if (change.entry !== undefined) world.entries[service] = change.entry;
      world.serviceEnv[service] = { ...world.baseEnv[service], ...(await change.env?.(world)) };
      await world.test.stack.restart(service);
    },
    async end(world) {
      if (world.baseEntries[service] === undefined) delete world.entries[service];
      else world.entries[service] = world.baseEntries[service];
      world.serviceEnv[service] = { ...world.baseEnv[service] };
      await world.test.stack.restart(service);
    },
  };
}

export const FAULTS: readonly Fault[] = [
  withoutGrant(
    'ledger-unreachable',
    'the worker cannot write to the ledger',
    'update (reserved_micro_usd, settled_micro_usd)|steward.ledger_accounts|steward_worker',
    'model calls',
  ),
  withoutGrant(
    'ledger-unreadable',
    'the worker cannot read the ledger',
    'select|steward.ledger_accounts|steward_worker',
    'model calls',
  ),
  killed('guard', 'the guard is down'),
  frozen('guard', 'the guard takes calls and answers none'),
  replaced('guard', 'guard-lies', 'a guard that signs with a key of its own', {
    env: async (world) => ({ STEWARD_GUARD_KEY_FILE: await world.strangersKeyFile() }),
  }),
  withoutGrant(
    'approvals-unreadable',
    'the guard cannot read approvals',
    'select|steward.approvals|steward_guard',
    'approved effects',
  ),
  withoutGrant(
    'decisions-unreadable',
    'the guard cannot read what people decided',
    'select|steward.approval_decisions|steward_guard',
    'approved effects',
  ),
  afresh(
    'guard',
    withoutGrant('agents-unreadable', 'the guard cannot read the pinned tools', 'select|steward.agents|steward_guard'),
  ),
  withoutGrant(
    'switches-unreadable',
    'the guard cannot read kill switches',
    'select|steward.kill_switches|steward_guard',
  ),
  switchesLie('switches-garbage', 'a kill switch of a scope that nobody knows', 'a-new-scope', 'cancel'),
  switchesLie('switches-nonsense', 'a kill switch with an action that nobody knows', 'tenant', 'a-new-action'),
  withoutGrant('runs-unreadable', 'the guard cannot read runs', 'select|steward.agent_runs|steward_guard'),
  killed('projects', 'the catalog is down'),
  frozen('projects', 'the catalog takes calls and answers none'),
  replaced('projects', 'catalog-lies', 'another program answers in the place of the catalog', {
    entry: 'test/support/rogue-catalog.ts',
  }),
  keys('projects', 'executionGrants', 'gone'),
  keys('projects', 'executionGrants', 'lie'),
  keys('guard', 'runGrants', 'gone'),
  keys('guard', 'runGrants', 'lie'),
  {
    name: 'database-down',
    what: 'Postgres is down',
    forbids: 'effects',
    readable: false,
    async begin({ test }) {
      const { pid, exited } = test.stack.server('postgres');
      if (pid === undefined) throw new Error('Postgres is not ours to stop.');
      process.kill(pid, 'SIGKILL');
      await exited;
    },
    end: ({ test }) => test.stack.restartServer('postgres'),
  },
];

/** A guard that cannot read these is defective where it lets a call pass. */
export const READS_OF_THE_GUARD = ['approvals-unreadable', 'decisions-unreadable'];
