import { createCallStore } from '#platform/database/calls.ts';
import { connect } from '#platform/database/connect.ts';
import type { Database } from '#platform/database/tables.ts';
import { withTenant } from '#platform/database/tenant.ts';
import { runGrantVerifier } from '#platform/identity/grants.ts';

// The worker's end of calls, alone in a process: every started call of a run gets its effect, until none is left.
const [url = '', jwks = '', tenant = '', run = ''] = process.argv.slice(2);
const { db, close } = connect<Database>(url, { max: 4, name: 'writer' });
const store = createCallStore({ db, grants: runGrantVerifier(jwks), notifier: { wake: () => undefined } });
process.stdout.write('ready\n');
for (;;) {
  const calls = await withTenant(db, tenant, (trx) =>
    trx
      .selectFrom('agent_run_tool_invocations')
      .select('call_id')
      .where('run_id', '=', run)
      .where('state', '=', 'started')
      .orderBy('turn')
      .limit(4)
      .execute(),
  );
  if (calls.length === 0) break;
  const end = { kind: 'done', resultJson: '{"ok":true}', change: null, undoable: true, repeated: false } as const;
  await Promise.all(calls.map(({ call_id }) => store.endCall({ tenant, run }, call_id, end)));
}
await close();
