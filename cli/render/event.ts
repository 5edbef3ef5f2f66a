import type { EventKind } from '#domain/events.ts';
import type { RunEvent } from '#gen/steward/run/v1/run_service_pb.ts';
import { changeLines } from './change.ts';
import { EventReader } from './event-data.ts';
import { argumentLines, shortArguments } from './json-value.ts';
import type { Colour, Look } from './look.ts';
import { amountAtLeast, dollars } from './money.ts';
import { fields } from './table.ts';
import { count, displayWidth, oneLine, padEnd, padStart, truncate, visible } from './text.ts';
import { duration, millis, when } from './time.ts';
import type { WatchState } from './watch-state.ts';

interface Line {
  readonly mark: string;
  readonly colour: Colour;
  /** Painted, never cut. Visible text. */
  readonly head: string;
  /** Cut where the line is full. Visible text. */
  readonly rest?: string;
  readonly below?: readonly string[];
}

type Writer = (data: EventReader, state: WatchState, event: RunEvent) => Line;

const LONGEST = 400;
const BELOW = ' '.repeat(12);

/**
 * The lines of one event: elapsed time, cost so far, turn or call, and what happened. One line each, but an approval
 * that is asked for stands out with its exact arguments, its preview and the command that decides it.
 */
export function renderEvent(event: RunEvent, state: WatchState): readonly string[] {
  const data = new EventReader(event.data);
  const writer = Object.hasOwn(WRITERS, event.kind) ? WRITERS[event.kind as EventKind] : other;
  const at = millis(event.time);
  const line = writer(data, at === null ? state : { ...state, look: { ...state.look, now: at } }, event);
  const { paint, width } = state.look;
  const elapsed = at === null || state.startedAt === null ? '' : duration(at - state.startedAt);
  const where = event.callId === '' ? (event.turn > 0 ? String(event.turn) : '') : visible(event.callId);
  const left = `${padStart(elapsed, 7)}  ${padStart(dollars(state.spent), 8)}  ${padEnd(where, 5)} `;
  const head = `${line.mark} ${line.head}`;
  const room = Math.min(LONGEST, width - displayWidth(left) - displayWidth(head) - 2);
  const rest = line.rest === undefined || line.rest === '' || room < 6 ? '' : `  ${truncate(line.rest, room)}`;
  return [`${paint.dim(left)}${paint[line.colour](head)}${rest}`, ...(line.below ?? [])];
}

const byWhom = (data: EventReader): string => visible(data.text('by'));
const because = (text: string): string => (text === '' ? '' : `: ${oneLine(text)}`);
const tool = (data: EventReader): string => visible(data.text('tool'));
const failure = (data: EventReader): string => `${visible(data.text('code'))}${because(data.text('message'))}`;

const WRITERS: Readonly<Record<EventKind, Writer>> = {
  'run.created': (data) => ({
    mark: '●',
    colour: 'bold',
    head: 'created',
    rest:
      `${visible(data.text('agent'))}@${visible(data.text('agentHash').slice(0, 8))} for ` +
      `${visible(data.text('actingUser'))}${startedBy(data)}${continues(data)}`,
  }),
  'run.queued': (data, { look }) => ({
    mark: '…',
    colour: 'yellow',
    head: 'queued',
    rest: `${oneLine(data.text('reason'))}, until ${when(data.number('until'), look)}`,
  }),
  'run.started': (data) => ({ mark: '●', colour: 'bold', head: 'started', rest: `on ${visible(data.text('model'))}` }),
  'run.cancelling': (data) => ({
    mark: '■',
    colour: 'yellow',
    head: 'cancelling',
    rest: `by ${byWhom(data)}${because(data.text('reason'))}`,
  }),
  'run.paused': (data, { look }) => ({
    mark: '‖',
    colour: 'yellow',
    head: 'paused',
    rest: `by ${byWhom(data)}${because(data.text('reason'))}, until ${when(data.number('until'), look)}`,
  }),
  'run.anomaly': (data) => ({
    mark: '!',
    colour: 'red',
    head: 'unusual',
    rest: data.texts('what').map(oneLine).join('; '),
  }),
  'run.resumed': (data) => ({ mark: '●', colour: 'bold', head: 'resumed', rest: `by ${byWhom(data)}` }),
  'message.received': (data) => ({
    mark: '▸',
    colour: 'bold',
    head: `message ${data.number('message')}`,
    rest: `from ${byWhom(data)}${because(data.text('text'))}`,
  }),
  'turn.started': (data) => ({
    mark: '·',
    colour: 'dim',
    head: 'model thinks',
    rest: `${attempt(data)}${readsMessages(data)}${dollars(data.number('reserved'))} reserved`,
  }),
  'context.shortened': (data) => ({ mark: '·', colour: 'dim', head: 'conversation shortened', rest: shortened(data) }),
  'model.switched': (data) => ({
    mark: '!',
    colour: 'yellow',
    head: 'model switched',
    rest: switchOf(data),
  }),
  'turn.answered': (data, { look }) => ({ mark: '◆', colour: 'blue', head: 'model', rest: answer(data, look) }),
  'turn.failed': (data) => ({
    mark: '!',
    colour: data.flag('retrying') ? 'yellow' : 'red',
    head: 'model failed',
    rest: `${data.flag('retrying') ? 'trying again after ' : ''}${failure(data)}`,
  }),
  'limit.warning': (data) => ({
    mark: '!',
    colour: 'yellow',
    head: `nears its limit of ${visible(data.text('limit'))}`,
    rest: limitUse(data),
  }),
  'budget.alarm': (data) => ({
    mark: '!',
    colour: data.text('alarm') === 'level' ? 'yellow' : 'red',
    head: data.text('alarm') === 'level' ? `${data.number('step')} % of its budget` : 'costs too much',
    rest:
      data.text('alarm') === 'level'
        ? `${dollars(data.number('settled'))} of ${dollars(data.number('limit'))}`
        : `${dollars(data.number('settled'))}, ${data.number('step')} times what its agent usually costs`,
  }),
  'turn.throttled': (data, { look }) => ({
    mark: '…',
    colour: 'yellow',
    head: 'throttled',
    rest: `${data.number('calls')} model calls of its user in a minute, until ${when(data.number('until'), look)}`,
  }),
  'budget.exhausted': (data, { look, runId, command }) => ({
    mark: '?',
    colour: 'yellow',
    head: 'WAITS FOR BUDGET',
    rest: `the next model call may cost ${dollars(data.number('need'))}, which ${level(data)} does not afford`,
    below: fields(
      [
        ['raise', `${command} ${toRaise(data.text('level'), visible(runId), amountAtLeast(data.number('need')))}`],
        ['until', when(data.number('until'), look)],
      ],
      look,
      BELOW.length,
    ),
  }),
  'budget.raised': (data) => ({
    mark: '●',
    colour: 'green',
    head: 'budget raised',
    rest:
      `by ${dollars(data.number('add'))} to ${dollars(data.number('limit'))}, by ${byWhom(data)}` +
      because(data.text('reason')),
  }),
  'tool.denied': (data, state, event) => ({
    mark: '✗',
    colour: 'red',
    head: `${tool(data)} denied`,
    rest: `${visible(data.text('code'))}${because(data.text('reason'))}  ${given(state, event)}`,
  }),
  'approval.asked': approvalAsked,
  'approval.decided': (data) => {
    const denied = /^den/.test(data.text('answer'));
    return {
      mark: denied ? '✗' : '✓',
      colour: denied ? 'red' : 'green',
      head: denied ? 'denied' : 'approved',
      rest: `by ${byWhom(data)}${because(data.text('reason'))}`,
    };
  },
  'approval.expired': (data) => ({
    mark: '✗',
    colour: 'yellow',
    head: 'approval expired',
    rest: `nobody decided ${visible(data.text('approval'))} in time`,
  }),
  'approval.refused': (data) => ({
    mark: '✗',
    colour: 'red',
    head: 'decision refused',
    rest: `${visible(data.text('code'))} for ${visible(data.text('approval'))}`,
  }),
  'tool.started': (data, state, event) => ({
    mark: '→',
    colour: 'cyan',
    head: tool(data),
    rest: `${attempt(data)}${given(state, event)}${approvedBy(data)}`,
  }),
  'tool.done': (data) => ({ mark: '✓', colour: 'green', head: tool(data), rest: done(data) }),
  'tool.refused': (data) => ({ mark: '✗', colour: 'yellow', head: `${tool(data)} refused`, rest: failure(data) }),
  'tool.failed': (data) => ({ mark: '✗', colour: 'red', head: `${tool(data)} failed`, rest: failure(data) }),
  'tool.outcome_unknown': (data) => ({
    mark: '!',
    colour: 'red',
    head: `${tool(data)} OUTCOME UNKNOWN, a person must look`,
    rest: oneLine(data.text('message')),
  }),
  'run.closed': (data) => ({
    mark: '■',
    colour: data.text('status') === 'completed' ? 'green' : 'red',
    head: visible(data.text('status')).replaceAll('_', ' '),
    rest: oneLine(data.text('message')),
    below: data
      .objects('unread')
      .map(
        (one) => `${BELOW}never read: message ${one.number('message')} from ${byWhom(one)}${because(one.text('text'))}`,
      ),
  }),
  'undo.requested': (data) => ({
    mark: '↶',
    colour: 'bold',
    head: 'undo asked for',
    rest: `by ${byWhom(data)}, ${count(data.number('calls'), 'effect')}${because(data.text('reason'))}`,
  }),
  'undo.done': (data) => ({ mark: '↶', colour: 'green', head: `${tool(data)} undone`, rest: done(data) }),
  'undo.refused': (data) => ({ mark: '✗', colour: 'yellow', head: `${tool(data)} not undone`, rest: failure(data) }),
  'undo.unknown': (data) => ({
    mark: '!',
    colour: 'red',
    head: `${tool(data)} MAY BE UNDONE, a person must look`,
    rest: oneLine(data.text('message')),
  }),
};

function other(data: EventReader, _state: WatchState, event: RunEvent): Line {
  return { mark: '·', colour: 'dim', head: visible(event.kind), rest: visible(data.json) };
}

function approvalAsked(data: EventReader, state: WatchState, event: RunEvent): Line {
  const { look, command } = state;
  const call = state.calls.get(event.callId);
  const id = visible(data.text('approval'));
  const inner = { ...look, width: look.width - 2 };
  const preview =
    call?.preview === undefined
      ? []
      : changeLines(call.preview, inner, { indent: BELOW, whole: true, fieldsOnly: true });
  const decide = [
    ['why', data.texts('why').map(visible)],
    ['decide', [`${command} approval approve ${id}`, `${command} approval deny ${id} --reason "…"`]],
    ['until', when(data.number('expiresAt'), look)],
  ] as const;
  return {
    mark: '?',
    colour: 'yellow',
    head: `${tool(data)} NEEDS A DECISION`,
    rest: oneLine(data.text('summary')),
    below: [
      ...(call === undefined ? [] : argumentLines(call.argsJson, inner, BELOW)),
      ...preview,
      ...fields(decide, look, BELOW.length),
    ],
  };
}

function startedBy(data: EventReader): string {
  const by = data.text('startedBy');
  return by === '' || by === data.text('actingUser') ? '' : `, started by ${visible(by)}`;
}

function continues(data: EventReader): string {
  const run = data.text('continues');
  return run === '' ? '' : `, continues ${visible(run)}`;
}

function answer(data: EventReader, look: Look): string {
  const counts = new Map<string, number>();
  for (const call of data.objects('calls')) counts.set(call.text('tool'), (counts.get(call.text('tool')) ?? 0) + 1);
  const calls = [...counts].map(([name, times]) => `${visible(name)}${times > 1 ? ` ×${times}` : ''}`).join(', ');
  const said = oneLine(data.text('text'));
  const wants = calls === '' ? '' : `→ ${calls}`;
  const price = `(+${dollars(data.number('cost'))})`;
  // What it wants and what it cost is told whole; what it says gives way.
  const room = Math.min(LONGEST, look.width - 34) - displayWidth(`${wants} ${price}`) - 1;
  return [truncate(said, Math.max(20, room)), wants, price].filter((part) => part !== '').join(' ');
}

function done(data: EventReader): string {
  const change = data.change('change');
  const repeated = data.flag('repeated') ? '(was done before: receipt found)' : '';
  const undo =
    change === null || data.text('undo') !== '' ? '' : data.flag('undoable') ? '(can be undone)' : '(cannot be undone)';
  return [change === null ? '' : oneLine(change.summary), undo, repeated].filter((part) => part !== '').join(' ');
}

function shortened(data: EventReader): string {
  const through = `up to step ${data.number('through')}`;
  if (data.text('how') === 'results') return `long results ${through} are left out`;
  if (data.text('how') === 'dropped') return `everything ${through} is left out`;
  return `${visible(data.text('model'))} summed up everything ${through} (+${dollars(data.number('cost'))})`;
}

function readsMessages(data: EventReader): string {
  const read = data.numbers('messages');
  return read.length === 0 ? '' : `reads message ${read.join(', ')}, `;
}

function attempt(data: EventReader): string {
  return data.number('attempt') > 1 ? `attempt ${data.number('attempt')}, ` : '';
}

const SWITCHES: Readonly<Record<string, string>> = {
  errors: 'which failed too often',
  unavailable: 'whose provider is out',
  no_key: 'for which there is no key',
  recovered: 'the fallback',
};

function switchOf(data: EventReader): string {
  const why = SWITCHES[data.text('why')];
  const dropped = data.number('thinkingDropped');
  const without = dropped === 0 ? '' : `; ${count(dropped, 'block')} of thinking left out`;
  return `to ${visible(data.text('to'))}, from ${visible(data.text('from'))}${why === undefined ? '' : `, ${why}`}${without}`;
}

function approvedBy(data: EventReader): string {
  const by = data.text('approvedBy');
  return by === '' || by === 'policy' ? '' : `  (approved by ${visible(by)})`;
}

function given(state: WatchState, event: RunEvent): string {
  const call = state.calls.get(event.callId);
  return call === undefined
    ? ''
    : shortArguments(call.argsJson, Math.max(20, Math.min(LONGEST, state.look.width) - 40));
}

const LEVELS: Readonly<Record<string, string>> = {
  user_month: "the user's month",
  tenant_month: "the tenant's month",
  product_month: "the whole installation's month",
};

function toRaise(level: string, run: string, amount: string): string {
  switch (level) {
    case 'user_month':
      return `budget top-up --user <subject> ${amount}`;
    case 'tenant_month':
      return `budget top-up --tenant ${amount}`;
    case 'product_month':
      return `budget top-up --product ${amount}`;
    default:
      return `run raise-budget ${run} ${amount}`;
  }
}

function level(data: EventReader): string {
  return LEVELS[data.text('level')] ?? "the run's budget";
}

function limitUse(data: EventReader): string {
  const name = data.text('limit');
  const show = (n: number): string => {
    if (name === 'budget') return dollars(n);
    return name === 'active_time' ? duration(n) : String(n);
  };
  return `${show(data.number('used'))} of ${show(data.number('of'))}`;
}
