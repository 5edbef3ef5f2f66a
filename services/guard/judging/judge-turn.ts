import { stopOfCall } from '#domain/kill-switch.ts';
import { needsPreview } from '#domain/quantities.ts';
import { hasEffect } from '#domain/tools.ts';
import { judgeRisk } from '#domain/verdict.ts';
import type { ProposedCall } from '#gen/steward/guard/v1/guard_service_pb.ts';
import { killed } from '#platform/database/switches.ts';
import type { Catalogs } from '../catalogs.ts';
import type { RunRow } from '../runs.ts';
import { assess, deny, type Examined, examine, type Finding, type Turn } from './assess.ts';

/** One call of a turn with its verdict. */
export interface JudgedCall extends Examined {
  readonly finding: Finding;
}

/** Whether no catalog has to be asked about these calls: all is known that their verdicts hang on. */
export function needsNobody(turn: Turn, calls: readonly ProposedCall[], catalogs: Catalogs): boolean {
  return calls.every((call) => {
    const tool = turn.tools.get(call.tool);
    if (!tool) return true;
    const looked = judgeRisk(tool).kind === 'ask' || needsPreview(tool.quantities);
    return catalogs.isKnown(tool.catalog) && !(tool.hasPreview && looked);
  });
}

/**
 * Judges the calls of one turn in order, each with what the earlier ones leave of the run's limit. Has no effect and
 * stores nothing. Throws CATALOG_UNAVAILABLE or CATALOG_BROKEN where a catalog that must be asked cannot be.
 */
export async function judgeTurn(turn: Turn, calls: readonly ProposedCall[], catalogs: Catalogs): Promise<JudgedCall[]> {
  const examined = calls.map((call, index) => examine(turn, call, index));
  const most = turn.run.limits.toolCalls;
  let left = most - turn.run.tool_calls;
  // Side by side, because previews take time; what is found does not depend on the other calls.
  const findings = await Promise.all(
    examined.map(async (one) => one.denied ?? (left > 0 ? assess(turn, one, catalogs) : undefined)),
  );
  return examined.map((one, index) => {
    const found = findings[index];
    const finding =
      one.denied ??
      (left > 0 && found ? found : deny('LIMIT_REACHED', `This run has used all its ${most} tool calls.`));
    if (finding.verdict !== 'deny') left -= 1;
    return { ...one, finding };
  });
}

/** Calls that a kill switch refuses, denied: as the switches stand in the transaction that stores the verdicts. */
export function refuseStopped(run: RunRow, calls: readonly JudgedCall[]): readonly JudgedCall[] {
  if (run.stops.length === 0) return calls;
  return calls.map((one) => {
    // A tool that is not known is taken for one with an effect.
    const stop = stopOfCall(run.stops, { tool: one.call.tool, effect: one.tool === undefined || hasEffect(one.tool) });
    if (!stop) return one;
    const { code, message } = killed(stop);
    return { ...one, finding: deny(code, message, { switch: stop.id }) };
  });
}
