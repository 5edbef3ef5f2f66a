import { createHash } from 'node:crypto';
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Transaction } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import type { SnapshotRunRequest, SnapshotRunResponseSchema } from '#gen/steward/incident/v1/incident_service_pb.ts';
import { audit } from '#platform/database/journal.ts';
import type { Database } from '#platform/database/tables.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { Checks } from '../checks.ts';
import type { RunApiDeps } from '../deps.ts';
import { linesOf } from '../incidents/sections.ts';
import { readRun } from '../run-rows.ts';

type Item = MessageInitShape<typeof SnapshotRunResponseSchema>;

const MOST_AT_ONCE = 4;
const CHUNK_BYTES = 262_144;
/** Bundles being taken in this process, by tenant. */
const underWay = new Map<string, number>();

/** One run as one signed bundle. What is read at the same time by a slow reader is one page. */
export async function* snapshotRun(
  ctx: CallContext,
  deps: RunApiDeps,
  request: SnapshotRunRequest,
): AsyncGenerator<Item, void, undefined> {
  const { principal } = ctx;
  const { runId } = request;
  const checks = new Checks();
  checks.runId(runId);
  checks.done();
  const others = underWay.get(principal.tenant) ?? 0;
  if (others >= MOST_AT_ONCE) {
    throw new StewardError('LIMIT_REACHED', `${MOST_AT_ONCE} bundles are being taken already. Try again in a minute.`);
  }
  underWay.set(principal.tenant, others + 1);
  try {
    const inTenant = <T>(work: (trx: Transaction<Database>) => Promise<T>): Promise<T> => {
      ctx.signal.throwIfAborted();
      return withTenant(deps.db, principal.tenant, work);
    };
    await inTenant(async (trx) => {
      await readRun(trx, principal, runId);
      await audit(trx, principal.tenant, { actor: principal.subject, action: 'incident.snapshot', run: runId });
    });
    const { tenant, subject } = principal;
    const bundle = new Bundle();
    bundle.add(
      JSON.stringify({ steward: 'incident', v: 1, tenant, run: runId, takenAt: new Date(), takenBy: subject }),
    );
    for await (const lines of linesOf(runId, inTenant)) {
      for (const line of lines) {
        bundle.add(line);
        if (bundle.waiting >= CHUNK_BYTES) yield* bundle.take();
      }
    }
    const { digest, lines } = bundle;
    bundle.add(JSON.stringify({ signature: await deps.signBundle({ tenant, run: runId, digest, lines }, subject) }));
    yield* bundle.take();
  } finally {
    const left = (underWay.get(principal.tenant) ?? 1) - 1;
    if (left === 0) underWay.delete(principal.tenant);
    else underWay.set(principal.tenant, left);
  }
}

class Bundle {
  readonly #hash = createHash('sha256');
  #kept: Buffer[] = [];
  waiting = 0;
  lines = 0;

  add(line: string): void {
    const bytes = Buffer.from(`${line}\n`);
    this.#hash.update(bytes);
    this.#kept.push(bytes);
    this.waiting += bytes.length;
    this.lines += 1;
  }

  /** Of everything so far. */
  get digest(): string {
    return this.#hash.copy().digest('hex');
  }

  /** What waits, in pieces that fit into a message: one line may be longer than that. */
  *take(): Generator<Item, void, undefined> {
    const bytes = Buffer.concat(this.#kept);
    [this.#kept, this.waiting] = [[], 0];
    for (let from = 0; from < bytes.length; from += CHUNK_BYTES) {
      yield { lines: bytes.subarray(from, from + CHUNK_BYTES) };
    }
  }
}
