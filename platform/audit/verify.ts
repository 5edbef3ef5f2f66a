import type { JsonValue } from '#domain/json.ts';
import type { Statement } from './anchors.ts';
import { CHAIN_RULES, type ChainRules, GENESIS, personalHash } from './chain.ts';

/** One link of a chain with what hangs on it, as the database or an export has it. */
export interface ChainRecord {
  readonly tenant: string;
  readonly number: number;
  readonly prev: Uint8Array;
  readonly hash: Uint8Array;
  /** Null where the bytes are gone: pruned, or removed. */
  readonly entry: string | null;
  /** Null where it was erased. */
  readonly personal: { readonly salt: Uint8Array; readonly actor: string; readonly data: JsonValue } | null;
  /** What the database says beside the bytes, for searching; an export has none. */
  readonly columns?: Readonly<Record<'at' | 'action' | 'run' | 'call' | 'digest' | 'tool', string | null>>;
}

/** The classes of P9, and what the anchors themselves may be. */
export type DamageClass = 'changed' | 'removed' | 'inserted' | 'reordered' | 'tail_cut' | 'rewritten' | 'grafted';

export interface Damage {
  readonly class: DamageClass;
  /** Where it begins. */
  readonly number: number;
  readonly detail: string;
}

export interface Verified {
  readonly entries: number;
  /** The last number seen, and the last one that a signed anchor vouches for. */
  readonly last: number;
  readonly anchored: number;
  readonly pruned: number;
  readonly erased: number;
  /** In order; at most `MOST_DAMAGE`. Empty: nothing was found. */
  readonly damage: readonly Damage[];
}

/** What is found is listed up to here; the rest is of no further use. */
export const MOST_DAMAGE = 100;
/** Records with a wrong hash are kept so far, to tell what was moved from what was changed. */
const MOST_SUSPECTS = 1_000;
/** The action of entries that say that others were erased. */
const ERASING = 'audit.erase';

/** Bytes are let go of no sooner than this after a signed head had them: the shortest that any tier keeps entries. */
export const LEAST_KEPT_DAYS = 90;
const DAY_MS = 86_400_000;

/**
 * Goes over a tenant's chain in its order and compares it with the anchors, whose signatures are checked already.
 * Without anchors a cut tail and a rewritten chain cannot be seen. Never throws for what is wrong with the chain.
 * `unsealed`: how many entries were erased by erasings that have no place in the chain yet.
 */
export async function verifyChain(
  tenant: string,
  records: AsyncIterable<ChainRecord> | Iterable<ChainRecord>,
  anchors: readonly Statement[],
  rules: ChainRules = CHAIN_RULES,
  unsealed: () => Promise<number> = async () => 0,
): Promise<Verified> {
  const walk = new Walk(tenant, anchors, rules);
  for await (const record of records) walk.take(record);
  return walk.end(await unsealed());
}

class Walk {
  readonly #tenant: string;
  readonly #rules: ChainRules;
  readonly #heads: ReadonlyMap<number, string>;
  readonly #anchored: number;
  readonly #prunable: number;
  readonly #damage: Damage[] = [];
  readonly #suspects: ChainRecord[] = [];
  #entries = 0;
  #pruned = 0;
  #erased = 0;
  #firstErased = 0;
  /** Entries that erasings in the chain say were erased. */
  #accounted = 0;
  #last = 0;
  #vouched = 0;
  #hash: Uint8Array = GENESIS;
  /** Whether the record before was whole: of one that was not, it is told already. */
  #whole = true;

  constructor(tenant: string, anchors: readonly Statement[], rules: ChainRules) {
    this.#tenant = tenant;
    this.#rules = rules;
    const heads = new Map<number, string>();
    // What was signed first counts: another hash of the same number was signed for a chain that is not the same any more.
    for (const { number, hash } of anchors) {
      if (!heads.has(number)) heads.set(number, hash);
      else if (heads.get(number) !== hash) {
        let before = 0;
        for (const one of heads.keys()) if (one < number && one > before) before = one;
        this.#found('rewritten', before + 1, `two signed anchors of ${number} have different hashes`);
      }
    }
    this.#heads = heads;
    this.#anchored = anchors.reduce((most, { number }) => Math.max(most, number), 0);
    this.#prunable = prunableUpTo(anchors);
  }

  take(record: ChainRecord): void {
    this.#entries += 1;
    const { number, entry } = record;
    if (number <= this.#last) this.#found('inserted', number, 'a second entry of this number');
    if (number > this.#last + 1) this.#found('removed', this.#last + 1, missing(this.#last + 1, number - 1));
    const whole = this.#takeEntry(record, entry);
    // What is wrong in itself is told once; a gap explains that the link does not fit.
    if (whole && this.#whole && number === this.#last + 1 && !this.#rules.follows(this.#hash, record.prev)) {
      this.#found('changed', Math.max(1, number - 1), 'it is not the entry that the next one was linked to');
    }
    const head = this.#heads.get(number);
    if (head !== undefined) {
      if (head === Buffer.from(record.hash).toString('hex')) this.#vouched = number;
      else if (whole) this.#found('rewritten', this.#vouched + 1, `the signed anchor of ${number} has another hash`);
    }
    this.#whole = whole;
    this.#last = Math.max(this.#last, number);
    this.#hash = record.hash;
  }

  /** Returns whether the record is whole in itself. */
  #takeEntry(record: ChainRecord, entry: string | null): boolean {
    const { tenant, number, prev, hash } = record;
    if (entry === null) {
      this.#pruned += 1;
      if (number > this.#prunable) this.#found('removed', number, 'its bytes are gone, and nothing signed says so');
      return true;
    }
    const said = read(entry);
    if (tenant !== this.#tenant || said?.tenant !== this.#tenant) {
      this.#found('grafted', number, `it is of tenant ${String(said?.tenant ?? tenant)}`);
      return false;
    }
    if (!same(this.#rules.leaf({ tenant, number, prev, entry }), hash)) {
      if (this.#suspects.length < MOST_SUSPECTS) this.#suspects.push(record);
      else this.#found('changed', number, 'its bytes have another hash');
      return false;
    }
    this.#takePersonal(record, said);
    for (const [name, value] of Object.entries(record.columns ?? {})) {
      if (value !== (said[name] ?? null)) this.#found('changed', number, `${name} beside the entry is not the entry's`);
    }
    return true;
  }

  #takePersonal({ number, personal }: ChainRecord, said: Readonly<Record<string, unknown>>): void {
    const erasing = said.action === ERASING;
    if (personal === null) {
      this.#erased += 1;
      this.#firstErased ||= number;
      if (erasing) this.#found('changed', number, 'an erasing was itself erased');
    } else if (hashOf(personal) !== said.personal) {
      this.#found('changed', number, 'actor or data are not those of the entry');
    } else if (erasing) {
      this.#accounted += Number((personal.data as { readonly entries?: unknown } | null)?.entries ?? 0);
    }
  }

  end(unsealed: number): Verified {
    if (this.#erased > this.#accounted + unsealed) {
      const said = `${this.#erased} entries are empty, and erasings of ${this.#accounted + unsealed} are on record`;
      this.#found('changed', this.#firstErased, said);
    }
    if (this.#anchored > this.#last) {
      this.#found('tail_cut', this.#last + 1, `the signed anchors go up to ${this.#anchored}`);
    }
    this.#judgeSuspects();
    const damage = this.#damage.toSorted((one, other) => one.number - other.number).slice(0, MOST_DAMAGE);
    return {
      entries: this.#entries,
      last: this.#last,
      anchored: this.#vouched,
      pruned: this.#pruned,
      erased: this.#erased,
      damage,
    };
  }

  /** What has a wrong hash here may be right elsewhere: then it was moved, and by how far says how. */
  #judgeSuspects(): void {
    const origin = new Map(this.#suspects.map((one) => [one, this.#originOf(one)]));
    const places = new Set(this.#suspects.map(({ number }) => number));
    const shifted = { removed: false, inserted: false };
    for (const suspect of this.#suspects) {
      const from = origin.get(suspect);
      if (from === undefined) this.#found('changed', suspect.number, 'its bytes have another hash');
      else if (places.has(from) && this.#swapped(suspect.number, from, origin)) {
        this.#found('reordered', suspect.number, `it was number ${from}`);
      } else {
        const kind = from > suspect.number ? 'removed' : 'inserted';
        // All that follow are shifted alike.
        if (!shifted[kind])
          this.#found(kind, suspect.number, `from here on numbers are off by ${from - suspect.number}`);
        shifted[kind] = true;
      }
    }
  }

  #swapped(number: number, from: number, origin: ReadonlyMap<ChainRecord, number | undefined>): boolean {
    for (const [suspect, its] of origin) if (suspect.number === from) return its === number;
    return false;
  }

  /** The number under which the record, or its entry in another's place, has the right hash. */
  #originOf({ tenant, number, prev, hash, entry }: ChainRecord): number | undefined {
    if (entry === null) return undefined;
    const near = [1, -1, 2, -2, 3, -3].map((by) => number + by);
    for (const at of [...near, ...this.#suspects.slice(0, 50).map((one) => one.number)]) {
      if (at >= 1 && same(this.#rules.leaf({ tenant, number: at, prev, entry }), hash)) return at;
    }
    return this.#suspects
      .slice(0, 50)
      .find((one) => same(this.#rules.leaf({ tenant, number: one.number, prev: one.prev, entry }), one.hash))?.number;
  }

  #found(kind: DamageClass, number: number, detail: string): void {
    if (this.#damage.length < 2 * MOST_DAMAGE) this.#damage.push({ class: kind, number, detail });
  }
}

/** Up to which number bytes may be gone: a statement says so, and a head had them long before it. */
function prunableUpTo(anchors: readonly Statement[]): number {
  const timed = (kind: Statement['kind']) =>
    anchors
      .filter((one) => one.kind === kind)
      .map(({ number, at }) => ({ number, at: Date.parse(at) }))
      .toSorted((one, other) => one.at - other.at);
  const heads = timed('head');
  let [next, reached, prunable] = [0, 0, 0];
  for (const { number, at } of timed('pruned')) {
    for (let head = heads[next]; head && head.at <= at - LEAST_KEPT_DAYS * DAY_MS; head = heads[next]) {
      reached = Math.max(reached, head.number);
      next += 1;
    }
    if (number <= reached) prunable = Math.max(prunable, number);
  }
  return prunable;
}

function missing(first: number, last: number): string {
  return first === last ? 'it is missing' : `${first} to ${last} are missing`;
}

function same(one: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(one, other) === 0;
}

function hashOf({ salt, actor, data }: NonNullable<ChainRecord['personal']>): string | undefined {
  try {
    return personalHash(salt, { actor, data });
  } catch {
    return undefined;
  }
}

function read(entry: string): Readonly<Record<string, unknown>> | null {
  try {
    return JSON.parse(entry);
  } catch {
    return null;
  }
}
