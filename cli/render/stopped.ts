import type { Stopped } from '#gen/steward/guard/v1/kill_switch_service_pb.ts';
import type { Look } from './look.ts';

/** What was stopped, in lines for a person; what could not be confirmed comes last and stands out. */
export function stoppedLines(stopped: Stopped | undefined, look: Look): readonly string[] {
  if (stopped === undefined) return [];
  const { runsCancelled, runsPaused, approvalsVoided, callsAborted, callsDone } = stopped;
  const { callsUnconfirmed, runsUnconfirmed } = stopped;
  const lines = [
    `  runs       ${runsCancelled} cancelled, ${runsPaused} paused`,
    `  calls      ${callsAborted} aborted before they took effect, ${callsDone} had taken effect`,
    `  approvals  ${approvalsVoided} void`,
  ];
  if (callsUnconfirmed === 0 && runsUnconfirmed === 0) return [...lines, '  all of it is confirmed'];
  return [
    ...lines,
    look.paint.yellow(
      `  not confirmed yet: ${callsUnconfirmed} calls, ${runsUnconfirmed} runs; see kill list and run list`,
    ),
  ];
}
