import { randomUUID } from 'node:crypto';
import { type Command, InvalidArgumentError } from 'commander';
import { StewardError } from '#domain/errors.ts';
import {
  AcknowledgeAlarmResponseSchema,
  GetBudgetResponseSchema,
  GetForecastResponseSchema,
  Level,
  ListAlarmsResponseSchema,
  ListEntriesResponseSchema,
  type SetLimitsRequest,
  SetLimitsResponseSchema,
  TopUpResponseSchema,
} from '#gen/steward/budget/v1/budget_service_pb.ts';
import { action } from '../action.ts';
import { money, whole } from '../input.ts';
import { alarmTable, balanceTable, budgetLines, entryTable, forecastLines } from '../render/budget.ts';
import { parseDollars } from '../render/money.ts';

const WAITING = 'Waiting for run-api';

/** Adds `budget` and its commands. */
export function addBudget(program: Command): void {
  const budget = program
    .command('budget')
    .summary('what may be spent, and what was')
    .description('The budget tree: what a run, its user, the tenant and the product may spend, and what they have.');
  addShow(budget);
  addSet(budget);
  addTopUp(budget);
  addLedger(budget);
  addForecast(budget);
  addAlarms(budget);
}

interface Whose {
  readonly run?: string;
  readonly user?: string;
  readonly tenant?: true;
  readonly product?: true;
}

function addShow(parent: Command): void {
  parent
    .command('show')
    .summary('show limits, what is held and what is spent')
    .description("Shows the tenant's month, or all levels that pay for a run or a user.")
    .option('--run <run>', 'of this run')
    .option('--user <user>', 'of this user')
    .action(
      action<Whose>(async (session, { run = '', user = '' }) => {
        const answer = await session.wait(WAITING, session.budget.getBudget({ runId: run, user }));
        session.show(GetBudgetResponseSchema, answer, () => budgetLines(answer, session.look));
        return undefined;
      }),
    );
}

type SetValue = bigint | 'inherited';

interface SetOptions extends Whose {
  readonly month?: SetValue;
  readonly userMonth?: SetValue;
  readonly concurrent?: SetValue;
  readonly daily?: SetValue;
  readonly tier?: string;
  readonly charge?: string;
  readonly reason?: string;
}

function addSet(parent: Command): void {
  parent
    .command('set')
    .summary('set limits of the tenant, a user or the product')
    .description(
      'Sets limits from now on, this month included. Of the tenant, or of --user or --product. `inherit` takes a value ' +
        "back: the tenant's to its tier's, a user's to that of all users, the product's to none.",
    )
    .option('--user <user>', "a user's month")
    .option('--product', "the product's month; for people of the platform tenant")
    .option('--month <dollars>', 'what a month may cost, or inherit', limit)
    .option('--user-month <dollars>', 'what a month of each user may cost, or inherit', limit)
    .option('--concurrent <n>', 'runs at once, or inherit', number)
    .option('--daily <n>', 'runs a day, or inherit', number)
    .option('--tier <tier>', 'free, pro or enterprise')
    .option('--charge <policy>', 'as_used, refund_failed or refund_unfinished')
    .option('--reason <text>', 'why, for the record')
    .action(
      action<SetOptions>(async (session, options) => {
        const request = { scope: scopeOf(options), reason: options.reason ?? '' };
        const answer = await session.wait('Setting limits', session.budget.setLimits(request));
        session.show(SetLimitsResponseSchema, answer, () => balanceTable(answer.levels, session.look));
        return undefined;
      }),
    );
}

function scopeOf(options: SetOptions): SetLimitsRequest['scope'] {
  const { user, product, month } = options;
  const own = [options.userMonth, options.concurrent, options.daily, options.tier, options.charge];
  if (user === undefined && product === undefined) {
    return {
      case: 'tenant',
      value: {
        $typeName: 'steward.budget.v1.TenantLimits',
        tier: options.tier ?? '',
        chargePolicy: options.charge ?? '',
        ...setting('monthBudgetMicroUsd', month),
        ...setting('userMonthMicroUsd', options.userMonth),
        ...setting('maxConcurrentRuns', options.concurrent),
        ...setting('maxRunsPerDay', options.daily),
      },
    };
  }
  if ((user !== undefined && product) || month === undefined || own.some((value) => value !== undefined)) {
    throw new StewardError('INVALID_REQUEST', 'A user and the product have a --month, and nothing else to set.');
  }
  const value = setting('monthMicroUsd', month);
  return user === undefined
    ? { case: 'product', value: { $typeName: 'steward.budget.v1.ProductLimits', ...value } }
    : { case: 'user', value: { $typeName: 'steward.budget.v1.UserLimits', user, ...value } };
}

function setting<K extends string>(key: K, value: SetValue | undefined) {
  if (value === undefined) return {};
  const one = value === 'inherited' ? { case: 'inherited', value: true } : { case: 'number', value };
  return { [key]: { $typeName: 'steward.budget.v1.Setting', value: one } };
}

function limit(text: string): SetValue {
  if (text === 'inherit') return 'inherited';
  const micro = parseDollars(text);
  if (micro === null) throw new InvalidArgumentError('Write an amount of dollars, as in 50 or 0.20, or inherit.');
  return micro;
}

function number(text: string): SetValue {
  return text === 'inherit' ? 'inherited' : BigInt(whole(0, 1_000_000)(text));
}

interface TopUpOptions extends Whose {
  readonly reason?: string;
  readonly requestId?: string;
}

function addTopUp(parent: Command): void {
  parent
    .command('top-up')
    .summary('add to a run, or to this month of a user, the tenant or the product')
    .description('Adds to one level, once per request id. What waits for it goes on at once.')
    .argument('<dollars>', 'what to add, as in 0.20', money)
    .option('--run <run>', 'to this run')
    .option('--user <user>', "to this user's month")
    .option('--tenant', "to the tenant's month")
    .option('--product', "to the product's month; for people of the platform tenant")
    .option('--request-id <id>', 'do it once per id, however often this is repeated')
    .option('--reason <text>', 'why, for the record')
    .action(
      action<TopUpOptions>(async (session, options, [amount = '']) => {
        session.requestId = options.requestId ?? randomUUID();
        const request = { requestId: session.requestId, addMicroUsd: money(amount), reason: options.reason ?? '' };
        const asked = session.budget.topUp({ ...request, ...levelOf(options) });
        const answer = await session.wait('Adding', asked);
        const { balance } = answer;
        session.show(TopUpResponseSchema, answer, () => (balance ? balanceTable([balance], session.look) : ['Added.']));
        return undefined;
      }),
    );
}

function levelOf(whose: Whose): { readonly level: Level; readonly subject: string } {
  const { run, user, tenant, product } = whose;
  if ([run, user, tenant, product].filter((one) => one !== undefined).length !== 1) {
    throw new StewardError('INVALID_REQUEST', 'Name one level: --run, --user, --tenant, or where it can be --product.');
  }
  if (run !== undefined) return { level: Level.RUN, subject: run };
  if (user !== undefined) return { level: Level.USER_MONTH, subject: user };
  return { level: tenant ? Level.TENANT_MONTH : Level.PRODUCT_MONTH, subject: '' };
}

interface LedgerOptions extends Whose {
  readonly month?: string;
  readonly limit: number;
  readonly pageToken?: string;
}

function addLedger(parent: Command): void {
  parent
    .command('ledger')
    .summary('list what moved an account')
    .description('Lists model calls and entries of a run, or of a month of a user or the tenant, newest first.')
    .option('--run <run>', 'of this run')
    .option('--user <user>', "of this user's month")
    .option('--month <yyyy-mm>', 'another month than this one')
    .option('--limit <n>', 'at most so many', whole(1, 200), 50)
    .option('--page-token <token>', 'go on where an earlier page ended')
    .action(
      action<LedgerOptions>(async (session, { run, user, month = '', limit: pageSize, pageToken = '' }) => {
        const whose = run === undefined && user === undefined ? { tenant: true as const } : {};
        const level = levelOf({
          ...whose,
          ...(run === undefined ? {} : { run }),
          ...(user === undefined ? {} : { user }),
        });
        const asked = session.budget.listEntries({ ...level, month, pageSize, pageToken });
        const answer = await session.wait(WAITING, asked);
        session.show(ListEntriesResponseSchema, answer, () =>
          answer.entries.length === 0 ? ['Nothing moved it.'] : entryTable(answer.entries, session.look),
        );
        if (answer.nextPageToken !== '') session.remark(`More: add --page-token ${answer.nextPageToken}`);
        return undefined;
      }),
    );
}

function addForecast(parent: Command): void {
  parent
    .command('forecast')
    .summary('where the month ends at the rate of the last days')
    .description("Says where the tenant's month ends at the rate of its last seven days.")
    .action(
      action(async (session) => {
        const answer = await session.wait(WAITING, session.budget.getForecast({}));
        session.show(GetForecastResponseSchema, answer, () => forecastLines(answer, session.look));
        return undefined;
      }),
    );
}

interface AlarmOptions {
  readonly all?: true;
  readonly product?: true;
  readonly ack?: number;
  readonly limit: number;
  readonly pageToken?: string;
}

function addAlarms(parent: Command): void {
  parent
    .command('alarms')
    .summary('list alarms, or say that one was seen to')
    .description('Lists alarms that nobody has seen to, newest first.')
    .option('--all', 'those that were seen to, as well')
    .option('--product', "the product's; for people of the platform tenant")
    .option('--ack <id>', 'say that this one was seen to', whole(1, Number.MAX_SAFE_INTEGER))
    .option('--limit <n>', 'at most so many', whole(1, 200), 50)
    .option('--page-token <token>', 'go on where an earlier page ended')
    .action(
      action<AlarmOptions>(async (session, { all, product = false, ack, limit: pageSize, pageToken = '' }) => {
        if (ack !== undefined) {
          const asked = session.budget.acknowledgeAlarm({ id: BigInt(ack), product });
          const answer = await session.wait(WAITING, asked);
          const { alarm } = answer;
          session.show(AcknowledgeAlarmResponseSchema, answer, () => (alarm ? alarmTable([alarm], session.look) : []));
          return undefined;
        }
        const asked = session.budget.listAlarms({ open: all === undefined, product, pageSize, pageToken });
        const answer = await session.wait(WAITING, asked);
        session.show(ListAlarmsResponseSchema, answer, () =>
          answer.alarms.length === 0 ? ['No alarms.'] : alarmTable(answer.alarms, session.look),
        );
        if (answer.nextPageToken !== '') session.remark(`More: add --page-token ${answer.nextPageToken}`);
        return undefined;
      }),
    );
}
