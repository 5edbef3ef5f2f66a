/** What a run does that its agent does not usually do. Pure; the guard asks after every turn. */

export const ANOMALY_KINDS = ['calls', 'cost', 'destructive', 'ping_pong', 'unauthorised', 'approvals'] as const;
export type AnomalyKind = (typeof ANOMALY_KINDS)[number];

/** By whom a run is paused that goes otherwise than its agent's runs do. */
export const WATCHER = 'steward';

/** From where on a run is paused; 0 switches a rule off. Set per agent, frozen at the start of a run. */
export interface AnomalyLimits {
  /** Tool calls, as a multiple of the agent's median. */
  readonly calls: number;
  /** Money, as a multiple of the agent's median. The ledger's own alarm is at 10 and its hard stop at 50. */
  readonly cost: number;
  /** Proposals of destructive or irreversible calls, as a multiple of the agent's median. */
  readonly destructive: number;
  /** Proposals of what the run may not use or touch. */
  readonly unauthorised: number;
  /** Approvals of destructive or irreversible calls that all runs of the agent have asked for within an hour. */
  readonly approvalsPerHour: number;
}

export const DEFAULT_ANOMALIES: AnomalyLimits = {
  calls: 5,
  cost: 20,
  destructive: 5,
  unauthorised: 3,
  approvalsPerHour: 10,
};

/** Below these nothing is unusual, however little the agent usually does. */
const LEAST = { calls: 20, costMicroUsd: 50_000, destructive: 5 } as const;
/** The agent's closed runs that a baseline needs at least. */
export const LEAST_RUNS = 5;
/** A, B, A, B …: so many calls in a row are a loop of two. */
const PING_PONG = 8;

/** Medians of an agent's last completed runs. */
export interface Baseline {
  readonly runs: number;
  readonly calls: number;
  readonly costMicroUsd: number;
  readonly destructive: number;
}

/** What the guard remembers of a run from turn to turn. */
export interface Watched {
  readonly destructive: number;
  readonly unauthorised: number;
  /** Signatures of the last calls, oldest first. */
  readonly recent: readonly string[];
  /** Rules that have paused the run: each does so once, since a person has looked then. */
  readonly fired: readonly AnomalyKind[];
}

export const NOTHING_WATCHED: Watched = { destructive: 0, unauthorised: 0, recent: [], fired: [] };

/** One call as a rule sees it. */
export interface WatchedCall {
  readonly sig: string;
  readonly destructive: boolean;
  readonly unauthorised: boolean;
}

/** What is known of a run after this turn's calls were judged. */
export interface Behaviour {
  readonly calls: number;
  readonly costMicroUsd: number;
  /** Of all the agent's runs, this turn's included; null where this turn asks for none. */
  readonly askedWithinHour: number | null;
}

/** A rule that a run has gone against, with what shows it. */
export interface Anomaly {
  readonly kind: AnomalyKind;
  readonly value: number;
  /** From here on it is unusual. */
  readonly limit: number;
  /** The agent's median, where the rule goes by it. */
  readonly usual: number | null;
}

/** What is remembered after a turn. */
export function watch(before: Watched, calls: readonly WatchedCall[]): Watched {
  return {
    destructive: before.destructive + calls.filter((call) => call.destructive).length,
    unauthorised: before.unauthorised + calls.filter((call) => call.unauthorised).length,
    recent: [...before.recent, ...calls.map((call) => call.sig)].slice(-PING_PONG),
    fired: before.fired,
  };
}

/** Rules that the run goes against now and has not been paused for before. */
export function anomaliesOf(
  watched: Watched,
  behaviour: Behaviour,
  limits: AnomalyLimits,
  baseline: Baseline | null,
): Anomaly[] {
  const found: Anomaly[] = [];
  const note = (kind: AnomalyKind, value: number, limit: number, usual: number | null) => {
    if (value >= limit && !watched.fired.includes(kind)) found.push({ kind, value, limit, usual });
  };
  if (baseline !== null && baseline.runs >= LEAST_RUNS) {
    const above = (kind: 'calls' | 'cost' | 'destructive', value: number, usual: number, least: number) => {
      if (limits[kind] > 0) note(kind, value, Math.max(Math.ceil(limits[kind] * usual), least), usual);
    };
    above('calls', behaviour.calls, baseline.calls, LEAST.calls);
    above('cost', behaviour.costMicroUsd, baseline.costMicroUsd, LEAST.costMicroUsd);
    above('destructive', watched.destructive, baseline.destructive, LEAST.destructive);
  }
  if (isPingPong(watched.recent)) note('ping_pong', PING_PONG, PING_PONG, null);
  if (limits.unauthorised > 0) note('unauthorised', watched.unauthorised, limits.unauthorised, null);
  if (limits.approvalsPerHour > 0 && behaviour.askedWithinHour !== null) {
    note('approvals', behaviour.askedWithinHour, limits.approvalsPerHour + 1, null);
  }
  return found;
}

function isPingPong(recent: readonly string[]): boolean {
  if (recent.length < PING_PONG) return false;
  const [a, b] = recent;
  return a !== b && recent.every((sig, at) => sig === (at % 2 === 0 ? a : b));
}

/** One line for people. Money in US dollars. */
export function anomalyText({ kind, value, limit, usual }: Anomaly): string {
  const dollars = (micro: number) => `$${(micro / 1_000_000).toFixed(4)}`;
  switch (kind) {
    case 'calls':
      return `made ${value} tool calls, where its agent usually makes ${usual}; unusual from ${limit} on`;
    case 'cost':
      return `cost ${dollars(value)}, where its agent usually costs ${dollars(usual ?? 0)}; unusual from ${dollars(limit)} on`;
    case 'destructive':
      return `proposed ${value} destructive calls, where its agent usually proposes ${usual}; unusual from ${limit} on`;
    case 'ping_pong':
      return `made the same two calls in turn, ${value} times`;
    case 'unauthorised':
      return `proposed ${value} calls of what it may not use or touch`;
    case 'approvals':
      return `its agent asked for ${value} destructive approvals within an hour; ${limit - 1} are usual at most`;
  }
}
