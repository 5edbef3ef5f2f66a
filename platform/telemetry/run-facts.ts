import type { Usage } from '#domain/conversation.ts';

/** What is recorded of a run and has spans: some of its turns, and the run itself where it has closed. */
export interface RunFacts {
  readonly run: TracedRun;
  readonly attempts: readonly TracedAttempt[];
  readonly calls: readonly TracedCall[];
  readonly approvals: readonly TracedApproval[];
}

export interface TracedRun {
  readonly tenant: string;
  readonly id: string;
  readonly traceParent: string | null;
  readonly agent: string;
  readonly agentHash: string;
  readonly model: string;
  readonly status: string;
  readonly stopReason: string | null;
  readonly turns: number;
  readonly toolCalls: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly cacheReadTokens: number;
  readonly cacheWriteTokens: number;
  readonly costMicroUsd: number;
  readonly createdAt: Date;
  /** Null: its own span is not told yet. */
  readonly closedAt: Date | null;
}

/** One model call. */
export interface TracedAttempt {
  readonly id: string;
  readonly turn: number;
  /** To answer, or to sum up what stood before. */
  readonly purpose: 'turn' | 'summary';
  /** Of its turn and purpose, from 1. */
  readonly number: number;
  readonly model: string;
  /** The model that answered; null where none did. */
  readonly answeredBy: string | null;
  readonly requestId: string | null;
  readonly usage: Usage | null;
  readonly costMicroUsd: number;
  /** Where it failed, as far as it is known. */
  readonly errorCode: string | null;
  readonly startedAt: Date;
  readonly endedAt: Date | null;
}

export interface TracedCall {
  readonly id: string;
  readonly turn: number;
  readonly tool: string;
  readonly catalog: string | null;
  readonly verdict: string;
  readonly verdictCode: string | null;
  readonly state: string;
  readonly errorCode: string | null;
  readonly attempts: number;
  readonly hasEffect: boolean;
  readonly judgedAt: Date;
  readonly startedAt: Date | null;
  readonly endedAt: Date | null;
}

export interface TracedApproval {
  readonly id: string;
  readonly call: string;
  readonly turn: number;
  readonly tool: string;
  readonly tier: number;
  readonly outcome: string;
  readonly decidedBy: string | null;
  readonly via: string | null;
  readonly askedAt: Date;
  readonly decidedAt: Date | null;
  readonly expiresAt: Date;
}
