/**
 * A guard with a defect, for `--sabotage closed`: where it cannot find out whether a call may run, it lets it. Nothing but
 * this suite starts it.
 */

import pg from 'pg';
import type { AuthorizeRequest } from '#gen/steward/guard/v1/guard_service_pb.ts';
import { announceReady, runService } from '#platform/config/process.ts';
import { readConfig } from '#platform/config/service.ts';
import { parseActionRecord } from '#platform/identity/action-record.ts';
import { digestOf } from '#platform/identity/canonical-json.ts';
import { executionGrantSigner, runGrantVerifier } from '#platform/identity/grants.ts';
import { readPrivateKey } from '#platform/identity/key-pair.ts';
import { guardVariables, startGuard } from '#services/guard/start.ts';
import { aroundCalls } from '#test/chaos/processes/around.ts';

await runService(async () => {
  const config = readConfig(guardVariables);
  const grants = runGrantVerifier(config.STEWARD_RUN_GRANT_JWKS);
  const signer = executionGrantSigner(await readPrivateKey(config.STEWARD_GUARD_KEY_FILE));
  const pool = new pg.Pool({ connectionString: process.env.FAULT_DATABASE_URL, max: 2 });
  const guard = await startGuard(config, {
    service: aroundCalls(async (method, ctx, request, serve) => {
      try {
        return await serve(ctx);
      } catch (error) {
        if (method !== 'authorize') throw error;
        const { runGrant, callId } = request as AuthorizeRequest;
        const { run } = await grants.verify(runGrant);
        const { rows } = await pool.query<{ action_record: Buffer }>(
          'select action_record from steward.agent_run_tool_invocations where run_id = $1 and call_id = $2',
          [run, callId],
        );
        const actionRecord = rows[0]?.action_record;
        if (!actionRecord) throw error;
        const { tenant, key, tool, catalog } = parseActionRecord(actionRecord);
        const call = { tenant, run, call: callId, key, tool, catalog, digest: digestOf(actionRecord), attempt: 1 };
        const { token } = await signer.sign(call);
        return { actionRecord, catalog, executionGrants: [token], attempt: 1 };
      }
    }),
  });
  announceReady({ address: guard.address });
  return async () => {
    await guard.stop();
    await pool.end();
  };
});
