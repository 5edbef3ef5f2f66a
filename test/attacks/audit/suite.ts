import type { DamageClass } from '#platform/audit/verify.ts';
import { type CrashFigures, crash } from './crash.ts';
import type { AuditOptions } from './options.ts';
import { LENGTH, TAMPERINGS, type Tampering } from './tampering.ts';
import { type AuditWorld, auditWorld } from './world.ts';

/** What came of one class. */
export interface Outcome {
  readonly tampering: Tampering;
  readonly expectedAt: number;
  /** The first damage the verifier told of; null: none. */
  readonly first: { readonly class: DamageClass; readonly number: number } | null;
  /** The right class at the right number. */
  readonly found: boolean;
}

export interface AuditFigures {
  readonly outcomes: readonly Outcome[];
  /** Chains nobody touched in which the verifier found something. */
  readonly falseAlarms: number;
  readonly crash: CrashFigures;
  readonly verifyPerMillionSeconds: number;
}

/** Tampers, crashes and times, one after the other on one database. */
export async function attackAudit(options: AuditOptions, say: (line: string) => void): Promise<AuditFigures> {
  const random = seeded(options.seed);
  const world = await auditWorld(options);
  try {
    const outcomes: Outcome[] = [];
    let falseAlarms = 0;
    for (const tampering of TAMPERINGS) {
      const tenant = await world.chain(LENGTH);
      if ((await world.verify(tenant)).damage.length > 0) falseAlarms += 1;
      const expectedAt = await tampering.play(world, tenant, 2 + Math.floor(random() * 17));
      const [first = null] = (await world.verify(tenant)).damage;
      const found = first?.class === tampering.class && first.number === expectedAt;
      outcomes.push({ tampering, expectedAt, first, found });
      const told = first ? `${first.class} at ${first.number}` : 'nothing';
      say(`${tampering.class} at ${expectedAt}: the verifier found ${told}`);
    }
    const crashed = await crash(world, options, random);
    say(`${crashed.effects} effects under ${crashed.kills} kills: ${crashed.missing} entries missing`);
    return { outcomes, falseAlarms, crash: crashed, verifyPerMillionSeconds: await timed(world, options.entries, say) };
  } finally {
    await world.close();
  }
}

async function timed(world: AuditWorld, entries: number, say: (line: string) => void): Promise<number> {
  const tenant = await world.chain(entries);
  const began = performance.now();
  const { last, damage } = await world.verify(tenant);
  const seconds = (performance.now() - began) / 1_000;
  if (last !== entries || damage.length > 0) throw new Error('the chain that is timed is not whole');
  say(`${entries} entries verified in ${seconds.toFixed(2)} s`);
  return Math.round((seconds / entries) * 1_000_000 * 10) / 10;
}

/** Numbers from 0 up to 1, the same for the same seed (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
