import type { Cost, Run } from '#gen/steward/run/v1/run_service_pb.ts';
import type { Look } from './look.ts';
import { dollars } from './money.ts';
import { statusColour, statusName } from './status.ts';
import { type Column, type Field, fields, table } from './table.ts';
import { count, group, oneLine, visible, visibleLines } from './text.ts';
import { duration, millis, relative, when } from './time.ts';

/** How long a run has taken so far, in milliseconds; null where it is not known when it was created. */
export function runTime(run: Run, now: number): number | null {
  const from = millis(run.createdAt);
  return from === null ? null : (millis(run.closedAt) ?? now) - from;
}

/** `$0.0213 of $0.5000`, and what is held for calls under way. */
export function costText(cost: Cost | undefined): string {
  if (cost === undefined) return '';
  const held = cost.reservedMicroUsd > 0n ? `, ${dollars(cost.reservedMicroUsd)} reserved` : '';
  const back = cost.refundedMicroUsd > 0n ? `, ${dollars(cost.refundedMicroUsd)} given back` : '';
  return `${dollars(cost.settledMicroUsd)} of ${dollars(cost.budgetMicroUsd)}${held}${back}`;
}

/** Tokens by kind; kinds of which none were used are left out. */
export function tokenText(cost: Cost | undefined): string {
  if (cost === undefined) return '';
  const kinds = [
    ['input', cost.inputTokens],
    ['output', cost.outputTokens],
    ['cache read', cost.cacheReadTokens],
    ['cache write', cost.cacheWriteTokens],
  ] as const;
  const used = kinds.filter(([, tokens]) => tokens > 0n);
  return used.length === 0 ? '' : `${used.map(([kind, tokens]) => `${kind} ${group(tokens)}`).join(', ')} tokens`;
}

/** One run in detail. */
export function runLines(run: Run, look: Look): readonly string[] {
  const took = runTime(run, look.now);
  const status = look.paint[statusColour(run.status)](statusName(run.status));
  const labels = Object.entries(run.labels).map(([key, value]) => visible(`${key}=${value}`));
  const rows: readonly Field[] = [
    ['Status', [status, ...(run.stopReason === '' ? [] : [visible(run.stopReason)])]],
    ['Agent', visible(`${run.agent}@${run.agentHash.slice(0, 12)}`)],
    ['Model', visible(run.model)],
    ['For', visible(run.actingUser)],
    ['Started by', run.startedBy === run.actingUser ? '' : visible(run.startedBy)],
    ['Input', visibleLines(run.input)],
    ['Labels', labels.join(', ')],
    ['Cost', costText(run.cost)],
    ['Tokens', tokenText(run.cost)],
    [
      'Work',
      `${count(run.turns, 'turn')}, ${count(run.toolCalls, 'tool call')}${took === null ? '' : `, ${duration(took)}`}`,
    ],
    ['Created', when(run.createdAt, look)],
    ['Closed', run.closedAt === undefined ? '' : when(run.closedAt, look)],
    ['Waits until', run.waitsUntil === undefined ? '' : when(run.waitsUntil, look)],
    ['Waits for', run.openApprovals.map((id) => `approval ${visible(id)}`)],
    ['Outcome', run.outcome === '' ? '' : visibleLines(run.outcome)],
    ['Workflow', visible(run.workflowId)],
    ['Temporal UI', visible(run.temporalUi)],
    ['Trace', visible(run.traceId)],
    ['Events', run.head > 0n ? String(run.head) : ''],
  ];
  return [look.paint.bold(`Run ${visible(run.id)}`), ...fields(rows, look, 2)];
}

/** Runs as a table, in the order given. */
export function runTable(runs: readonly Run[], look: Look): readonly string[] {
  const age = (run: Run): string => {
    const at = millis(run.createdAt);
    return at === null ? '' : relative(at, look.now);
  };
  const columns: readonly Column<Run>[] = [
    { title: 'RUN', cell: (run) => run.id },
    {
      title: 'STATUS',
      cell: (run) => statusName(run.status),
      paint: (text, run) => look.paint[statusColour(run.status)](text),
    },
    { title: 'AGENT', cell: (run) => run.agent, shrinks: true },
    { title: 'FOR', cell: (run) => run.actingUser, shrinks: true },
    { title: 'COST', cell: (run) => dollars(run.cost?.settledMicroUsd ?? 0n), right: true },
    { title: 'CALLS', cell: (run) => String(run.toolCalls), right: true },
    { title: 'CREATED', cell: age },
    { title: 'INPUT', cell: (run) => oneLine(run.input).slice(0, 200), shrinks: true },
  ];
  return table(columns, runs, look);
}
