import { BudgetService } from '#gen/steward/budget/v1/budget_service_pb.ts';
import { type BoundService, bind } from '#platform/grpc/bind.ts';
import type { Role } from '#platform/identity/principal.ts';
import type { RunApiDeps } from '../deps.ts';
import { acknowledgeAlarm } from '../rpc/acknowledge-alarm.ts';
import { getBudget } from '../rpc/get-budget.ts';
import { getForecast } from '../rpc/get-forecast.ts';
import { listAlarms } from '../rpc/list-alarms.ts';
import { listEntries } from '../rpc/list-entries.ts';
import { setLimits } from '../rpc/set-limits.ts';
import { topUp } from '../rpc/top-up.ts';

const READERS: readonly Role[] = ['admin', 'operator', 'auditor'];
const OPERATORS: readonly Role[] = ['operator', 'admin'];

/** The budget tree. The product level asks for the platform tenant besides. */
export function budgetService(deps: RunApiDeps): BoundService {
  return bind(BudgetService, {
    roles: {
      getBudget: READERS,
      setLimits: ['admin'],
      topUp: OPERATORS,
      listEntries: READERS,
      getForecast: READERS,
      listAlarms: READERS,
      acknowledgeAlarm: OPERATORS,
    },
    handlers: {
      getBudget: (ctx, request) => getBudget(ctx, deps, request),
      setLimits: (ctx, request) => setLimits(ctx, deps, request),
      topUp: (ctx, request) => topUp(ctx, deps, request),
      listEntries: (ctx, request) => listEntries(ctx, deps, request),
      getForecast: (ctx, request) => getForecast(ctx, deps, request),
      listAlarms: (ctx, request) => listAlarms(ctx, deps, request),
      acknowledgeAlarm: (ctx, request) => acknowledgeAlarm(ctx, deps, request),
    },
  });
}
