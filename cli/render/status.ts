import { ApprovalState } from '#gen/steward/guard/v1/guard_service_pb.ts';
import { RunStatus, RunStatusSchema } from '#gen/steward/run/v1/run_service_pb.ts';
import type { Colour } from './look.ts';

const PREFIX = 'RUN_STATUS_';

/** The statuses a run can have, as people write them: `awaiting_approval`. */
export const STATUS_NAMES: readonly string[] = RunStatusSchema.values
  .filter((value) => value.number !== 0)
  .map((value) => value.name.slice(PREFIX.length).toLowerCase());

/** A status as people write it. One that this version does not know is its number. */
export function statusName(status: RunStatus): string {
  const value = RunStatusSchema.value[status];
  return value === undefined ? `status ${status}` : value.name.slice(PREFIX.length).toLowerCase();
}

/** The status of that name, with `-` or `_`, in any case; null where there is none. */
export function parseStatus(name: string): RunStatus | null {
  const wanted = PREFIX + name.trim().toUpperCase().replaceAll('-', '_');
  const found = RunStatusSchema.values.find((value) => value.name === wanted && value.number !== 0);
  return found === undefined ? null : (found.number as RunStatus);
}

/** The colour of a status. */
export function statusColour(status: RunStatus): Colour {
  switch (status) {
    case RunStatus.COMPLETED:
      return 'green';
    case RunStatus.FAILED:
    case RunStatus.TERMINATED:
      return 'red';
    case RunStatus.AWAITING_APPROVAL:
    case RunStatus.PAUSED:
    case RunStatus.QUEUED:
    case RunStatus.BUDGET_EXCEEDED:
    case RunStatus.CANCELLED:
      return 'yellow';
    default:
      return 'cyan';
  }
}

const STATES: Readonly<Record<number, readonly [string, Colour]>> = {
  [ApprovalState.OPEN]: ['open', 'yellow'],
  [ApprovalState.APPROVED]: ['approved', 'green'],
  [ApprovalState.DENIED]: ['denied', 'red'],
  [ApprovalState.EXPIRED]: ['expired', 'dim'],
  [ApprovalState.VOID]: ['void', 'dim'],
};

/** The state of an approval as people write it. */
export function approvalStateName(state: ApprovalState): string {
  return STATES[state]?.[0] ?? 'unknown';
}

/** The colour of an approval's state. */
export function approvalStateColour(state: ApprovalState): Colour {
  return STATES[state]?.[1] ?? 'dim';
}

/** The state of that name, in any case; null where there is none. */
export function parseApprovalState(name: string): ApprovalState | null {
  const found = Object.entries(STATES).find(([, [text]]) => text === name.trim().toLowerCase());
  return found === undefined ? null : (Number(found[0]) as ApprovalState);
}

/** The states an approval can have, as people write them. */
export const APPROVAL_STATE_NAMES: readonly string[] = Object.values(STATES).map(([name]) => name);
