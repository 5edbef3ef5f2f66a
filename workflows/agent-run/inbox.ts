import { condition, sleep } from '@temporalio/workflow';
import type { ConfirmDecisionResult } from '#domain/ports/run-activities.ts';
import {
  type DecideApprovalSignal,
  FREED_HINT,
  MAX_SIGNED_DECISION,
  type RaiseBudgetSignal,
} from '#domain/run-workflow.ts';

/** So many messages that turned out to say nothing true, and what came in is looked into ever more rarely. */
export const BAD_SIGNALS_HEARD = 20;
const FIRST_QUIET_MS = 60_000;
const LONGEST_QUIET_MS = 15 * 60_000;
/** The sweeper tells a run that waits no more often. */
const HINTED_EVERY_MS = 60_000;
/** Messages kept per approval while one is being looked into. */
const KEPT = 5;

export type ApprovalState = ConfirmDecisionResult['state'];

/** What somebody sent about one approval. */
interface Message {
  readonly signed?: string;
}

/** An approval that a call of this run waits for, or has waited for. */
interface Question {
  readonly digest: string;
  readonly messages: Message[];
  /** Messages that came in, and that have been looked into. */
  came: number;
  seen: number;
  state: ApprovalState;
}

/**
 * What came in by signal and Update and has not been looked into yet. Nothing in a message is believed: it only makes
 * the run ask the guard or the ledger. A flood of false ones costs one question a minute, and soon one in 15 minutes.
 */
export class Inbox {
  readonly #questions = new Map<string, Question>();
  #raises = 0;
  #raisesSeen = 0;
  /** Whether the last one was a hint of the sweeper's. */
  #hinted = false;
  #excusedAt = 0;
  #quietUntil = 0;
  #badSignals: number;

  constructor(badSignals: number) {
    this.#badSignals = badSignals;
  }

  get badSignals(): number {
    return this.#badSignals;
  }

  /** From now on messages about this approval are heard. */
  ask(approval: string, digest: string): void {
    this.#questions.set(approval, { digest, messages: [], came: 0, seen: 0, state: 'open' });
  }

  /** The run has taken this answer over: nothing more is heard about the approval. */
  answer(approval: string, state: ApprovalState): void {
    const question = this.#questions.get(approval);
    if (!question) return;
    question.state = state;
    question.messages.length = 0;
  }

  /** Structure only: is it about an approval of this run, with the digest that was asked about, and of bounded size? */
  fits(signal: unknown): signal is DecideApprovalSignal {
    if (typeof signal !== 'object' || signal === null) return false;
    const { approvalId, digest, signed } = signal as Partial<DecideApprovalSignal>;
    if (typeof approvalId !== 'string') return false;
    const question = this.#questions.get(approvalId);
    if (!question || question.digest !== digest) return false;
    return signed === undefined || (typeof signed === 'string' && signed.length <= MAX_SIGNED_DECISION);
  }

  /** Takes a message that `fits`; one that does not, or comes after the answer or past what is kept, changes nothing. */
  addDecision(signal: DecideApprovalSignal): void {
    const question = this.fits(signal) ? this.#questions.get(signal.approvalId) : undefined;
    if (question?.state !== 'open') return;
    // Past the cap only the question itself is kept, so that a decision the guard has recorded still arrives.
    const signed = this.#badSignals < BAD_SIGNALS_HEARD ? signal.signed : undefined;
    const known = question.messages.some((message) => message.signed === signed);
    if (known || question.messages.length >= KEPT) return;
    question.came += 1;
    question.messages.push(signed === undefined ? {} : { signed });
  }

  /** Waits until what was known about an approval has been looked into, or `stop` is true; returns where it stands. */
  async standing(approval: string, stop: () => boolean): Promise<ApprovalState> {
    const question = this.#questions.get(approval);
    if (!question) return 'open';
    const upTo = question.came;
    await condition(() => stop() || question.state !== 'open' || question.seen >= upTo, '1m');
    return question.state;
  }

  /** The next message about an approval; null once `until` has passed. Milliseconds since 1970. */
  async nextDecision(approval: string, until: number): Promise<Message | null> {
    const messages = this.#questions.get(approval)?.messages ?? [];
    const left = until - Date.now();
    if (left <= 0 || !(await condition(() => messages.length > 0, left))) return null;
    await this.#quieten(until);
    return messages.shift() ?? null;
  }

  /** A message was looked into and nothing had been decided. */
  sawNothing(approval: string): void {
    this.#inVain();
    const question = this.#questions.get(approval);
    if (question) question.seen += 1;
  }

  addRaise(signal: RaiseBudgetSignal): void {
    if (typeof signal !== 'object' || signal === null) return;
    this.#raises += 1;
    this.#hinted = signal.raiseId === FREED_HINT;
  }

  /** True once a raise came in; false once `until` has passed. */
  async nextRaise(until: number): Promise<boolean> {
    const left = until - Date.now();
    if (left <= 0 || !(await condition(() => this.#raises > this.#raisesSeen, left))) return false;
    await this.#quieten(until);
    this.#raisesSeen = this.#raises;
    return true;
  }

  /** Waits until every raise that has come in so far was looked into, or `stop` is true. */
  async raisesSeen(stop: () => boolean): Promise<boolean> {
    const upTo = this.#raises;
    await condition(() => stop() || this.#raisesSeen >= upTo, '1m');
    return this.#raisesSeen >= upTo;
  }

  /** A raise was looked into and was too small, or none. */
  raiseDidNotHelp(): void {
    // Steward's own hints come once a minute at most and are true when they are given, but others may be faster: such a one
    // spoils nobody's word. Whoever sends more of them is no hint.
    const excused = this.#hinted && Date.now() - this.#excusedAt >= HINTED_EVERY_MS;
    if (excused) this.#excusedAt = Date.now();
    else this.#inVain();
  }

  #inVain(): void {
    this.#badSignals += 1;
    const over = this.#badSignals - BAD_SIGNALS_HEARD;
    if (over >= 0) this.#quietUntil = Date.now() + Math.min(FIRST_QUIET_MS * 2 ** over, LONGEST_QUIET_MS);
  }

  async #quieten(until: number): Promise<void> {
    const ms = Math.min(this.#quietUntil, until) - Date.now();
    if (ms > 0) await sleep(ms);
  }
}
