import { randomUUID } from 'node:crypto';
import { timestampDate } from '@bufbuild/protobuf/wkt';
import type { Command } from 'commander';
import { StewardError } from '#domain/errors.ts';
import {
  KillResponseSchema,
  ListSwitchesResponseSchema,
  SetSafeModeResponseSchema,
  type Switch,
  SwitchAction,
  SwitchMode,
  SwitchScope,
  UnkillResponseSchema,
} from '#gen/steward/guard/v1/kill_switch_service_pb.ts';
import { action } from '../action.ts';
import { whole } from '../input.ts';
import type { Look } from '../render/look.ts';
import { stoppedLines } from '../render/stopped.ts';
import { table } from '../render/table.ts';
import { oneLine, visible } from '../render/text.ts';
import { drill } from './kill-drill.ts';

const SCOPES: Readonly<Record<string, SwitchScope>> = {
  product: SwitchScope.PRODUCT,
  tenant: SwitchScope.TENANT,
  agent: SwitchScope.AGENT,
  tool: SwitchScope.TOOL,
  user: SwitchScope.USER,
  run: SwitchScope.RUN,
};

interface ScopeOptions {
  readonly scope?: string;
  readonly target?: string;
  readonly tenant?: string;
  readonly reason?: string;
}

interface KillOptions extends ScopeOptions {
  readonly pause?: true;
  readonly drill?: true;
  readonly runs: number;
  readonly model?: string;
  readonly requestId?: string;
}

/** Adds `kill` with `kill list`, `unkill` and `safe-mode`. */
export function addKill(program: Command): void {
  const kill = scoped(
    program
      .command('kill')
      .summary('stop everything of a scope, at once')
      .description(
        'Sets a kill switch: from then on nothing of its scope begins, what is in flight is aborted and resolved, ' +
          'questions to people are void, and runs are cancelled. It holds until it is lifted (unkill).',
      ),
  )
    .option('--pause', 'pause running runs, so that they may go on later, and do not cancel them')
    .option('--drill', 'start some harmless runs, kill them, and report; nothing else is stopped')
    .option('--runs <n>', 'with --drill: so many runs', whole(1, 50), 6)
    .option('--model <id>', 'with --drill: the model the runs ask')
    .option('--request-id <id>', 'set it once per id, however often this is repeated')
    .action(
      action<KillOptions>(async (session, options) => {
        if (options.drill) return drill(session, options);
        const requestId = options.requestId ?? randomUUID();
        session.requestId = requestId;
        const request = {
          requestId,
          ...scopeOf(options),
          action: options.pause ? SwitchAction.PAUSE : SwitchAction.UNSPECIFIED,
          reason: reasonOf(options),
        };
        const answer = await session.wait('Stopping', session.switches.kill(request));
        session.show(KillResponseSchema, answer, () => [
          `${session.look.paint.bold('Stopped:')} ${nameOf(answer.switch)}, switch ${visible(answer.switch?.id ?? '')}`,
          ...stoppedLines(answer.stopped, session.look),
          `To lift it: ${session.command} unkill ${visible(answer.switch?.id ?? '')} --reason …`,
        ]);
        return undefined;
      }),
    );
  addList(kill);
  addUnkill(program);
  addSafeMode(program);
}

function addList(parent: Command): void {
  parent
    .command('list')
    .summary('list switches')
    .description('Lists the kill switches and safe modes that stand, newest first.')
    .option('--all', 'also those that were lifted')
    .option('--limit <n>', 'at most so many', whole(1, 100), 50)
    .option('--page-token <token>', 'go on where an earlier page ended')
    .action(
      action<{ readonly all?: true; readonly limit: number; readonly pageToken?: string }>(
        async (session, { all = false, limit, pageToken = '' }) => {
          const asked = session.switches.listSwitches({ all, pageSize: limit, pageToken });
          const answer = await session.wait('Asking', asked);
          session.show(ListSwitchesResponseSchema, answer, () => listLines(answer.switches, session.look));
          if (answer.nextPageToken !== '') session.remark(`More: add --page-token ${answer.nextPageToken}`);
          return undefined;
        },
      ),
    );
}

function addUnkill(program: Command): void {
  program
    .command('unkill')
    .summary('lift a kill switch')
    .description('Lifts a kill switch: new runs start again. Cancelled runs stay cancelled, paused ones paused.')
    .argument('<switch>', 'its id, as kill list shows it')
    .option('--reason <text>', 'why, for the record')
    .option('--resume', 'let the runs that it has paused go on')
    .action(
      action<{ readonly reason?: string; readonly resume?: true }>(async (session, options, [switchId = '']) => {
        const request = { switchId, reason: reasonOf(options), resume: options.resume === true };
        const answer = await session.wait('Lifting', session.switches.unkill(request));
        session.show(UnkillResponseSchema, answer, () => [
          `Lifted: ${nameOf(answer.switch)}`,
          ...(answer.resumed > 0 ? [`  ${answer.resumed} paused runs go on`] : []),
        ]);
        return undefined;
      }),
    );
}

function addSafeMode(program: Command): void {
  scoped(
    program
      .command('safe-mode')
      .summary('refuse every effect while reads go on')
      .description('Turns safe mode on or off: while it is on, reads go on and every effect is refused.')
      .argument('<on|off>'),
  ).action(
    action<ScopeOptions>(async (session, options, [state = '']) => {
      if (state !== 'on' && state !== 'off') throw new StewardError('INVALID_REQUEST', 'Say on or off.');
      const scope = scopeOf({ ...options, scope: options.scope ?? 'tenant' });
      const request = { on: state === 'on', ...scope, reason: reasonOf(options) };
      const answer = await session.wait('Switching', session.switches.setSafeMode(request));
      session.show(SetSafeModeResponseSchema, answer, () => [
        answer.switch === undefined
          ? 'Safe mode was off.'
          : `Safe mode is ${state} for ${nameOf(answer.switch)}, switch ${visible(answer.switch.id)}`,
      ]);
      return undefined;
    }),
  );
}

function scoped(command: Command): Command {
  return command
    .option('--scope <scope>', 'product, tenant, agent, tool, user or run')
    .option('--target <name>', 'which agent, tool, user or run')
    .option('--tenant <id>', 'another tenant than your own; for the platform tenant')
    .option('--reason <text>', 'why, for the record');
}

function scopeOf(options: ScopeOptions): {
  readonly scope: SwitchScope;
  readonly target: string;
  readonly tenant: string;
} {
  const scope = SCOPES[options.scope ?? ''];
  if (scope === undefined) {
    throw new StewardError('INVALID_REQUEST', `Say --scope ${Object.keys(SCOPES).join(', ')}.`);
  }
  return { scope, target: options.target ?? '', tenant: options.tenant ?? '' };
}

function reasonOf({ reason }: { readonly reason?: string }): string {
  if (reason !== undefined && reason.trim() !== '') return reason;
  throw new StewardError('INVALID_REQUEST', 'Say --reason: whoever meets the switch asks for it.');
}

function nameOf(one: Switch | undefined): string {
  const scope = Object.entries(SCOPES).find(([, value]) => value === one?.scope)?.[0] ?? '?';
  if (one?.target) return `${scope} ${visible(one.target)}`;
  return one?.tenant ? `${scope} ${visible(one.tenant)}` : scope;
}

function listLines(switches: readonly Switch[], look: Look): readonly string[] {
  if (switches.length === 0) return ['No switch stands.'];
  const at = (one: Switch) => (one.setAt === undefined ? '' : timestampDate(one.setAt).toISOString());
  const columns = [
    { title: 'SWITCH', cell: (one: Switch) => one.id },
    { title: 'WHAT', cell: (one: Switch) => (one.mode === SwitchMode.SAFE_MODE ? 'safe mode' : 'kill') },
    { title: 'SCOPE', cell: (one: Switch) => nameOf(one) },
    { title: 'RUNS', cell: (one: Switch) => ACTIONS[one.action] ?? '' },
    { title: 'SET', cell: at },
    { title: 'BY', cell: (one: Switch) => visible(one.setBy) },
    { title: 'STATE', cell: stateOf },
    { title: 'REASON', cell: (one: Switch) => oneLine(one.reason), shrinks: true },
  ];
  return table(columns, switches, look);
}

const ACTIONS: Readonly<Partial<Record<SwitchAction, string>>> = {
  [SwitchAction.CANCEL]: 'cancelled',
  [SwitchAction.PAUSE]: 'paused',
};

function stateOf(one: Switch): string {
  const drilled = one.drill ? ', drill' : '';
  if (one.liftedAt !== undefined) return `lifted${drilled}`;
  return `${one.mode === SwitchMode.KILL && one.toldAt === undefined ? 'under way' : 'stands'}${drilled}`;
}
