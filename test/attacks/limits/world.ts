import { randomUUID } from 'node:crypto';
import type { LimitScope } from '#domain/quantities.ts';
import { ToolCatalog } from '#gen/steward/catalog/v1/tool_catalog_pb.ts';
import type { AuthorizeResponse } from '#gen/steward/guard/v1/guard_service_pb.ts';
import { LimitService } from '#gen/steward/guard/v1/limit_service_pb.ts';
import { createCallStore } from '#platform/database/calls.ts';
import { connect as connectDatabase } from '#platform/database/connect.ts';
import { notifier } from '#platform/database/notify.ts';
import type { Database } from '#platform/database/tables.ts';
import { connect } from '#platform/grpc/client.ts';
import { runGrantVerifier } from '#platform/identity/grants.ts';
import { type Bench, type BenchRun, guardBench } from '#test/support/guard/bench.ts';

/** What a proposed call came to. */
export interface Try {
  readonly run: BenchRun;
  readonly callId: string;
  readonly amount: number;
  readonly begun: boolean;
  /** Why it was not let begin. */
  readonly code: string;
}

/** A guard, the catalog it lets calls begin at, and the worker's own store for what came of them. */
export interface LimitsWorld {
  readonly bench: Bench;
  tenant(scope: LimitScope, amount: number): Promise<string>;
  /** A run of a tenant, for a user. */
  run(tenant: string, user: string): Promise<BenchRun>;
  /**
   * Proposes one payout in a turn of its own, and carries it out where it may begin: with its verdict, or after
   * `authorise` askings at once for leave.
   */
  pay(run: BenchRun, turn: number, amount: number, authorise: number): Promise<Try>;
  /** The same, up to where it may begin and no further: its worker has died. */
  reserve(run: BenchRun, turn: number, amount: number): Promise<Try>;
  /** Another worker carries such a call out after all. */
  carryOut(one: Try): Promise<void>;
  /** The worker records how such a call has ended after all. */
  end(one: Try, how: 'done' | 'failed'): Promise<void>;
  /** What the catalog has done for a tenant since a moment of the database's clock. */
  paid(tenant: string, since: Date): Promise<number>;
  now(): Promise<Date>;
  stop(): Promise<void>;
}

/** Brings it up. */
export async function limitsWorld(): Promise<LimitsWorld> {
  const bench = await guardBench();
  const { database } = bench;
  const desk = connect(ToolCatalog, { address: bench.deskAddress, token: bench.workerToken });
  const pool = connectDatabase<Database>(await database.urlAs('steward_worker'), { max: 10 });
  const wake = notifier(pool.db);
  const grants = runGrantVerifier(bench.keys.runApi.jwks);
  const store = createCallStore({ db: pool.db, grants, notifier: wake });
  const digests = new Map<string, string>();

  async function carryOut(run: BenchRun, leave: Pick<AuthorizeResponse, 'actionRecord' | 'executionGrants'>) {
    const { actionRecord, executionGrants } = leave;
    await desk.client.execute({ actionRecord, executionGrants: [...executionGrants], runGrant: run.runGrant });
  }

  async function propose(run: BenchRun, turn: number, amount: number, begin: boolean) {
    const { calls } = await run.judge([{ tool: 'pay_out', args: { cents: amount } }], turn, begin);
    const [call] = calls;
    if (!call) throw new Error('The guard has judged nothing.');
    return call;
  }

  return {
    bench,
    async tenant(scope, amount) {
      const tenant = await database.tenant();
      const token = () => bench.keys.issuer.token({ tenant, subject: 'admin', roles: ['admin'] }, 600);
      const connection = connect(LimitService, { address: bench.address, token });
      bench.onStop(connection.close);
      await connection.client.setLimit({ quantity: 'payout.cents', scope, amount: BigInt(amount) });
      return tenant;
    },
    run: (tenant, user) => bench.run({ tenant, columns: { acting_user: user }, grant: { user } }),
    async pay(run, turn, amount, authorise) {
      const call = await propose(run, turn, amount, authorise === 0);
      const { callId, code, digest } = call;
      if (code !== '') return { run, callId, amount, begun: false, code };
      if (call.begun) {
        await carryOut(run, call.begun);
        return { run, callId, amount, begun: true, code };
      }
      const asked = await Promise.allSettled(
        Array.from({ length: Math.max(1, authorise) }, async () => {
          const leave = await bench.worker.authorize({ runGrant: run.runGrant, callId, digest });
          await carryOut(run, leave);
        }),
      );
      const begun = asked.some(({ status }) => status === 'fulfilled');
      const refused = asked.find((one) => one.status === 'rejected')?.reason as { code?: string } | undefined;
      return { run, callId, amount, begun, code: begun ? '' : (refused?.code ?? 'UNKNOWN') };
    },
    async reserve(run, turn, amount) {
      const { callId, code, begun, digest } = await propose(run, turn, amount, true);
      digests.set(`${run.id}/${callId}`, digest);
      return { run, callId, amount, begun: begun !== undefined, code };
    },
    async carryOut({ run, callId }) {
      const digest = digests.get(`${run.id}/${callId}`) ?? '';
      await carryOut(run, await bench.worker.authorize({ runGrant: run.runGrant, callId, digest }));
    },
    async end({ run, callId, amount }, how) {
      const ref = { tenant: run.tenant, run: run.id };
      if (how === 'failed') {
        await store.endCall(ref, callId, { kind: 'failed', code: 'TOMBSTONED', message: 'It did not take place.' });
        return;
      }
      const change = { summary: 'paid', fields: [], quantities: { 'payout.cents': amount } };
      await store.endCall(ref, callId, { kind: 'done', resultJson: '{}', change, undoable: false, repeated: false });
    },
    async paid(tenant, since) {
      const [row] = await database.query<{ sum: string }>(
        `select coalesce(sum((change::jsonb -> 'quantities' ->> 'payout.cents')::int8), 0) as sum
         from desk.receipts where tenant = $1 and state = 'done' and created_at >= $2`,
        [tenant, since],
      );
      return Number(row?.sum ?? 0);
    },
    async now() {
      const [row] = await database.query<{ at: Date }>('select clock_timestamp() as at');
      return row?.at ?? new Date();
    },
    async stop() {
      desk.close();
      await wake.close();
      await pool.close();
      await bench.stop();
    },
  };
}

/** Somebody. */
export const someone = (): string => `user-${randomUUID().slice(0, 8)}@acme`;
