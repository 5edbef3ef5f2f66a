import { setTimeout as sleep } from 'node:timers/promises';
import { AuditService } from '#gen/steward/audit/v1/audit_service_pb.ts';
import { connect } from '#platform/grpc/client.ts';
import type { TestStack } from '#test/support/stack.ts';

/** What the audit log tells of the suite's runs, beside what the state tables say took place. */
export interface AuditFound {
  /** Verdicts, grants, decisions, effects, starts and ends that took place. */
  readonly wanted: number;
  /** Of them without an entry of their own, and entries that nobody had sealed once all was quiet. */
  readonly missing: number;
  /** Entries beyond them: of what did not take place, or told twice. */
  readonly surplus: number;
  /** What the verifier found in the chain, against its anchors. */
  readonly damage: number;
}

const SEALED_WITHIN_MS = 15_000;

/** Compares past Steward, as the database's superuser, and lets run-api go over the chain. */
export async function auditOf(s: TestStack, seed: number): Promise<AuditFound> {
  const [counts] = await s.query<{ wanted: number; missing: number; surplus: number }>(
    `with runs as (select id, closed_at from steward.agent_runs where starts_with(request_id, $1)),
       calls as (select i.* from steward.agent_run_tool_invocations i join runs r on r.id = i.run_id),
       entries as (select l.* from steward.audit_log l join runs r on r.id = l.run_id),
       wanted as (
         select 'start' as what, id as run, '' as call, 1::bigint as n from runs
         union all select 'close', id, '', 1 from runs where closed_at is not null
         union all select 'verdict', run_id, call_id, 1 from calls
         union all select 'grant', run_id, call_id, attempts from calls where attempts > 0
         union all select 'effect', run_id, call_id, 1 from calls where has_effect and state = 'done'
         union all select 'decision', d.run_id, d.call_id, 1
           from steward.approval_decisions d join runs r on r.id = d.run_id),
       told as (
         select what, run_id as run, coalesce(call_id, '') as call, count(*) as n from (
           select run_id, call_id, case when action = 'run.start' then 'start' when action = 'run.close' then 'close'
             when action like 'verdict.%' then 'verdict' when action = 'call.authorized' then 'grant'
             when action = 'call.effect' then 'effect' when action in ('approval.approve', 'approval.deny') then 'decision'
             end as what from entries
           -- A call that may begin at once gets its first grant with its verdict.
           union all select run_id, call_id, 'grant' from entries
             where action like 'verdict.%' and (data ->> 'begun')::boolean) e
         where what is not null group by 1, 2, 3)
     select coalesce(sum(w.n), 0)::int as wanted,
       coalesce(sum(greatest(coalesce(w.n, 0) - coalesce(t.n, 0), 0)), 0)::int as missing,
       coalesce(sum(greatest(coalesce(t.n, 0) - coalesce(w.n, 0), 0)), 0)::int as surplus
     from wanted w full join told t using (what, run, call)`,
    [`chaos-${seed}-`],
  );
  const unsealed = await sealed(s);
  const auditor = { subject: 'iris@acme.example', roles: ['auditor'] } as const;
  const connection = connect(AuditService, {
    address: s.stack.environment.runApi,
    token: () => s.token(auditor),
  });
  try {
    const { damage } = await connection.client.verifyAudit({});
    const { wanted = 0, missing = 0, surplus = 0 } = counts ?? {};
    return { wanted, missing: missing + unsealed, surplus, damage: damage.length };
  } finally {
    connection.close();
  }
}

/** Waits for the sealer; returns how many entries it has left out. */
async function sealed(s: TestStack): Promise<number> {
  for (const end = Date.now() + SEALED_WITHIN_MS; ; await sleep(50)) {
    const [row] = await s.query<{ n: number }>(
      `select count(*)::int as n from steward.audit_log l
       where not exists (select from steward.audit_chain c where c.tenant = l.tenant and c.audit_id = l.id)`,
    );
    if (row?.n === 0 || Date.now() > end) return row?.n ?? 0;
  }
}
