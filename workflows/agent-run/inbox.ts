import { condition } from '@temporalio/workflow';
import { type DecideApprovalSignal, MAX_SIGNED_DECISION, type RaiseBudgetSignal } from '#domain/run-workflow.ts';

/** So many messages that turned out to say nothing true, and further ones are heard at most once a minute. */
export const BAD_SIGNALS_HEARD = 20;
const QUIET_MS = 60_000;
/** Messages kept per approval while one is being looked into. */
const KEPT = 5;

/**
 * What came in by signal and Update and has not been looked into yet. Nothing in a message is believed: it only makes
 * the run ask the guard or the ledger. A flood of false ones costs at most one question a minute.
 */
export class Inbox {
  readonly #decisions = new Map<string, { signed?: string }[]>();
  #raises = 0;
  badSignals: number;

  constructor(badSignals: number) {
    this.badSignals = badSignals;
  }

  /** Structure only: is it about a call that is waiting, with the digest that was asked about, and of bounded size? */
  isWellFormed(signal: DecideApprovalSignal, pending: ReadonlyMap<string, string>): boolean {
    return (
      typeof signal === 'object' &&
      signal !== null &&
      typeof signal.approvalId === 'string' &&
      pending.get(signal.approvalId) === signal.digest &&
      (signal.signed === undefined || (typeof signal.signed === 'string' && signal.signed.length <= MAX_SIGNED_DECISION))
    );
  }

  addDecision(signal: DecideApprovalSignal): void {
    const waiting = this.#decisions.get(signal.approvalId) ?? [];
    if (waiting.length >= KEPT) return;
    // Past the cap only the question itself is kept, so that a true decision still arrives.
    const signed = this.badSignals < BAD_SIGNALS_HEARD ? signal.signed : undefined;
    waiting.push(signed === undefined ? {} : { signed });
    this.#decisions.set(signal.approvalId, waiting);
  }

  addRaise(signal: RaiseBudgetSignal): void {
    if (typeof signal === 'object' && signal !== null) this.#raises += 1;
  }

  /** The next message about an approval, or null after `ms`. */
  async nextDecision(approvalId: string, ms: number): Promise<{ readonly signed?: string } | null> {
    await this.#quieten(ms);
    const came = await condition(() => (this.#decisions.get(approvalId)?.length ?? 0) > 0, Math.max(1, ms));
    return came ? (this.#decisions.get(approvalId)?.shift() ?? null) : null;
  }

  /** True once a raise came in; false after `ms`. */
  async nextRaise(ms: number): Promise<boolean> {
    await this.#quieten(ms);
    const came = await condition(() => this.#raises > 0, Math.max(1, ms));
    this.#raises = 0;
    return came;
  }

  async #quieten(ms: number): Promise<void> {
    if (this.badSignals >= BAD_SIGNALS_HEARD && ms > QUIET_MS) await condition(() => false, QUIET_MS);
  }
}
