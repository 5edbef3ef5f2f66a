import { type Command, InvalidArgumentError } from 'commander';
import {
  GetUsageResponseSchema,
  ListLimitsResponseSchema,
  type QuantityLimit,
  RemoveLimitResponseSchema,
  SetLimitResponseSchema,
  type WindowUsage,
} from '#gen/steward/guard/v1/limit_service_pb.ts';
import { action } from '../action.ts';
import { whole } from '../input.ts';
import type { Look } from '../render/look.ts';
import { type Column, table } from '../render/table.ts';
import { millis, relative } from '../render/time.ts';

const SCOPES = 'action, run, user-hour, user-day, agent-day, tenant-hour, tenant-day; turn for batch.destructive';

/** Adds `limit` and its commands. */
export function addLimit(program: Command): void {
  const limit = program
    .command('limit')
    .summary('limit what runs may spend in all')
    .description(
      'Limits on what tools say they spend (refund.cents, rows.deleted, emails), per call, run, and over windows that ' +
        'slide: of a user, an agent, the tenant. Money is in cents.',
    );
  limit
    .command('list')
    .summary('list the limits in force')
    .description("Lists the tenant's own limits, and the defaults it has not replaced.")
    .action(
      action(async (session) => {
        const answer = await session.wait('Waiting for the guard', session.limits.listLimits({}));
        session.show(ListLimitsResponseSchema, answer, () => table(LIMITS(session.look), answer.limits, session.look));
        return undefined;
      }),
    );
  addSet(limit);
  limit
    .command('remove')
    .summary("take the tenant's own limit away")
    .description("Takes the tenant's own limit away: the default holds again, where there is one.")
    .argument('<quantity>', 'such as refund.cents')
    .argument('<scope>', SCOPES)
    .action(
      action(async (session, _options, [quantity = '', scope = '']) => {
        const answer = await session.wait('Waiting for the guard', session.limits.removeLimit({ quantity, scope }));
        session.show(RemoveLimitResponseSchema, answer, () =>
          answer.limit === undefined
            ? ['Nothing limits it now.']
            : ['The default holds now:', ...table(LIMITS(session.look), [answer.limit], session.look)],
        );
        return undefined;
      }),
    );
  addUsage(limit);
}

function addSet(parent: Command): void {
  parent
    .command('set')
    .summary('set a limit')
    .description('Sets a limit. It counts for calls that begin from then on.')
    .argument('<quantity>', 'such as refund.cents')
    .argument('<scope>', SCOPES)
    .argument('<amount>', "at most so much, in the quantity's unit; none: no limit", amount)
    .option('--ask [tier]', 'beyond it ask for approval (tier 1 to 3, default 3), in place of denying', whole(1, 3))
    .action(
      action<{ readonly ask?: number | true }>(async (session, { ask }, [quantity = '', scope = '', text = '']) => {
        const most = amount(text);
        const how = ask === undefined ? { outcome: 'deny' } : { outcome: 'ask', tier: ask === true ? 3 : ask };
        const request = { quantity, scope, ...(most === null ? {} : { amount: most }), ...how };
        const answer = await session.wait('Waiting for the guard', session.limits.setLimit(request));
        session.show(SetLimitResponseSchema, answer, () =>
          table(LIMITS(session.look), answer.limit === undefined ? [] : [answer.limit], session.look),
        );
        return undefined;
      }),
    );
}

function amount(text: string): bigint | null {
  if (text === 'none') return null;
  if (/^\d{1,16}$/.test(text)) return BigInt(text);
  throw new InvalidArgumentError('It must be a whole number, or none.');
}

interface UsageOptions {
  readonly user?: string;
  readonly agent?: string;
  readonly run?: string;
}

function addUsage(parent: Command): void {
  parent
    .command('usage')
    .summary('what the windows hold now')
    .description('What is spent or held in each window that has a limit, and what that leaves.')
    .option('--user <subject>', 'also the windows of this user')
    .option('--agent <name>', 'also those of this agent')
    .option('--run <id>', 'also those of this run')
    .action(
      action<UsageOptions>(async (session, { user = '', agent = '', run = '' }) => {
        const call = session.limits.getUsage({ actingUser: user, agent, runId: run });
        const answer = await session.wait('Waiting for the guard', call);
        session.show(GetUsageResponseSchema, answer, () =>
          answer.windows.length === 0 ? ['No such windows.'] : table(USAGE, answer.windows, session.look),
        );
        return undefined;
      }),
    );
}

const LIMITS = (look: Look): readonly Column<QuantityLimit>[] => [
  { title: 'QUANTITY', cell: (limit) => limit.quantity },
  { title: 'SCOPE', cell: (limit) => limit.scope },
  { title: 'AT MOST', cell: (limit) => String(limit.amount ?? 'no limit'), right: true },
  { title: 'BEYOND IT', cell: (limit) => (limit.outcome === 'ask' ? `ask, tier ${limit.tier}` : 'deny') },
  {
    title: 'SET',
    cell: (limit) =>
      limit.setBy === '' ? 'default' : `by ${limit.setBy}, ${relative(millis(limit.setAt) ?? look.now, look.now)}`,
    shrinks: true,
  },
];

const USAGE: readonly Column<WindowUsage>[] = [
  { title: 'QUANTITY', cell: ({ limit }) => limit?.quantity ?? '' },
  { title: 'SCOPE', cell: ({ limit }) => limit?.scope ?? '' },
  { title: 'USED', cell: ({ used }) => String(used), right: true },
  { title: 'OF', cell: ({ limit }) => String(limit?.amount ?? 'no limit'), right: true },
  { title: 'LEFT', cell: ({ limit, left }) => (limit?.amount === undefined ? '' : String(left)), right: true },
];
