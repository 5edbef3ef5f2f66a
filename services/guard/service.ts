import { ApprovalService } from '#gen/steward/guard/v1/approval_service_pb.ts';
import { GuardService } from '#gen/steward/guard/v1/guard_service_pb.ts';
import { KillSwitchService } from '#gen/steward/guard/v1/kill_switch_service_pb.ts';
import { LimitService } from '#gen/steward/guard/v1/limit_service_pb.ts';
import { type BoundService, bind } from '#platform/grpc/bind.ts';
import type { Role } from '#platform/identity/principal.ts';
import type { GuardDeps } from './deps.ts';
import { authorize } from './rpc/authorize.ts';
import { authorizeUndo } from './rpc/authorize-undo.ts';
import { confirmDecision } from './rpc/confirm-decision.ts';
import { decide } from './rpc/decide.ts';
import { decideAndWait } from './rpc/decide-and-wait.ts';
import { getApproval } from './rpc/get-approval.ts';
import { getSwitch } from './rpc/get-switch.ts';
import { getUsage } from './rpc/get-usage.ts';
import { judge } from './rpc/judge.ts';
import { kill } from './rpc/kill.ts';
import { listApprovals } from './rpc/list-approvals.ts';
import { listLimits } from './rpc/list-limits.ts';
import { listSwitches } from './rpc/list-switches.ts';
import { removeLimit } from './rpc/remove-limit.ts';
import { setLimit } from './rpc/set-limit.ts';
import { setSafeMode } from './rpc/set-safe-mode.ts';
import { signDecision } from './rpc/sign-decision.ts';
import { unkill } from './rpc/unkill.ts';

const WORKERS: readonly Role[] = ['worker'];
const READERS: readonly Role[] = ['approver', 'operator', 'admin', 'auditor', 'service', 'user'];
/** People. Approvers decide for others; anyone may be the user a run acts for. `mayDecide` has the last word. */
const DECIDERS: readonly Role[] = ['approver', 'user', 'operator', 'admin', 'auditor'];
const STOPPERS: readonly Role[] = ['operator', 'admin'];
const SWITCH_READERS: readonly Role[] = ['operator', 'admin', 'auditor'];
const ADMINS: readonly Role[] = ['admin'];

/** What workers ask before anything runs. */
export function guardService(deps: GuardDeps): BoundService {
  return bind(GuardService, {
    roles: { judge: WORKERS, authorize: WORKERS, authorizeUndo: WORKERS, confirmDecision: WORKERS },
    handlers: {
      judge: (ctx, request) => judge(ctx, deps, request),
      authorize: (ctx, request) => authorize(ctx, deps, request),
      authorizeUndo: (ctx, request) => authorizeUndo(ctx, deps, request),
      confirmDecision: (ctx, request) => confirmDecision(ctx, deps, request),
    },
  });
}

/** What people are asked, and what they answer. */
export function approvalService(deps: GuardDeps): BoundService {
  return bind(ApprovalService, {
    roles: {
      listApprovals: READERS,
      getApproval: READERS,
      decide: DECIDERS,
      decideAndWait: DECIDERS,
      signDecision: DECIDERS,
    },
    handlers: {
      listApprovals: (ctx, request) => listApprovals(ctx, deps, request),
      getApproval: (ctx, request) => getApproval(ctx, deps, request),
      decide: (ctx, request) => decide(ctx, deps, request),
      decideAndWait: (ctx, request) => decideAndWait(ctx, deps, request),
      signDecision: (ctx, request) => signDecision(ctx, deps, request),
    },
  });
}

/** Stop orders. */
export function killSwitchService(deps: GuardDeps): BoundService {
  return bind(KillSwitchService, {
    roles: {
      kill: STOPPERS,
      unkill: STOPPERS,
      setSafeMode: STOPPERS,
      listSwitches: SWITCH_READERS,
      getSwitch: SWITCH_READERS,
    },
    handlers: {
      kill: (ctx, request) => kill(ctx, deps, request),
      unkill: (ctx, request) => unkill(ctx, deps, request),
      setSafeMode: (ctx, request) => setSafeMode(ctx, deps, request),
      listSwitches: (ctx, request) => listSwitches(ctx, deps, request),
      getSwitch: (ctx, request) => getSwitch(ctx, deps, request),
    },
  });
}

/** How much runs may spend of what tools declare. */
export function limitService(deps: GuardDeps): BoundService {
  return bind(LimitService, {
    roles: { listLimits: SWITCH_READERS, setLimit: ADMINS, removeLimit: ADMINS, getUsage: SWITCH_READERS },
    handlers: {
      listLimits: (ctx) => listLimits(ctx, deps),
      setLimit: (ctx, request) => setLimit(ctx, deps, request),
      removeLimit: (ctx, request) => removeLimit(ctx, deps, request),
      getUsage: (ctx, request) => getUsage(ctx, deps, request),
    },
  });
}
