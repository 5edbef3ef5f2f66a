import { AdminService } from '#gen/steward/admin/v1/admin_service_pb.ts';
import { InvestigationService } from '#gen/steward/admin/v1/investigation_service_pb.ts';
import { IncidentService } from '#gen/steward/incident/v1/incident_service_pb.ts';
import { RunService } from '#gen/steward/run/v1/run_service_pb.ts';
import { type BoundService, bind } from '#platform/grpc/bind.ts';
import type { Role } from '#platform/identity/principal.ts';
import { MEMBERS } from './access.ts';
import type { RunApiDeps } from './deps.ts';
import { applyAgent } from './rpc/apply-agent.ts';
import { assignInvestigation } from './rpc/assign-investigation.ts';
import { cancelRun } from './rpc/cancel-run.ts';
import { closeInvestigation } from './rpc/close-investigation.ts';
import { exportRuns } from './rpc/export-runs.ts';
import { getAgent } from './rpc/get-agent.ts';
import { getBlastRadius } from './rpc/get-blast-radius.ts';
import { getInvestigation } from './rpc/get-investigation.ts';
import { getRun } from './rpc/get-run.ts';
import { getTenant } from './rpc/get-tenant.ts';
import { getTool } from './rpc/get-tool.ts';
import { getToolCall } from './rpc/get-tool-call.ts';
import { getUndo } from './rpc/get-undo.ts';
import { listAgents } from './rpc/list-agents.ts';
import { listInvestigations } from './rpc/list-investigations.ts';
import { listRuns } from './rpc/list-runs.ts';
import { listSteps } from './rpc/list-steps.ts';
import { listTools } from './rpc/list-tools.ts';
import { noteInvestigation } from './rpc/note-investigation.ts';
import { pauseRun } from './rpc/pause-run.ts';
import { raiseBudget } from './rpc/raise-budget.ts';
import { resumeRun } from './rpc/resume-run.ts';
import { sendMessage } from './rpc/send-message.ts';
import { snapshotRun } from './rpc/snapshot-run.ts';
import { startRun } from './rpc/start-run.ts';
import { undoRun } from './rpc/undo-run.ts';
import { updateTenant } from './rpc/update-tenant.ts';
import { watchRun } from './rpc/watch-run.ts';

const STARTERS: readonly Role[] = ['service', 'operator', 'admin', 'user'];
/** Reading and steering: which runs, `access.ts` says. */
const OPERATORS: readonly Role[] = ['operator', 'admin'];
const ADMINS: readonly Role[] = ['admin'];
const SETTINGS_READERS: readonly Role[] = ['admin', 'operator', 'auditor'];
const EXPORTERS: readonly Role[] = ['operator', 'admin', 'auditor'];

/** Starts, shows and steers runs. */
export function runService(deps: RunApiDeps): BoundService {
  return bind(RunService, {
    roles: {
      startRun: STARTERS,
      getRun: MEMBERS,
      listRuns: MEMBERS,
      watchRun: MEMBERS,
      listSteps: MEMBERS,
      getToolCall: MEMBERS,
      cancelRun: MEMBERS,
      pauseRun: MEMBERS,
      resumeRun: MEMBERS,
      raiseBudget: OPERATORS,
      exportRuns: EXPORTERS,
      sendMessage: STARTERS,
      undoRun: OPERATORS,
      getUndo: MEMBERS,
    },
    handlers: {
      startRun: (ctx, request) => startRun(ctx, deps, request),
      getRun: (ctx, request) => getRun(ctx, deps, request),
      listRuns: (ctx, request) => listRuns(ctx, deps, request),
      watchRun: (ctx, request) => watchRun(ctx, deps, request),
      listSteps: (ctx, request) => listSteps(ctx, deps, request),
      getToolCall: (ctx, request) => getToolCall(ctx, deps, request),
      cancelRun: (ctx, request) => cancelRun(ctx, deps, request),
      pauseRun: (ctx, request) => pauseRun(ctx, deps, request),
      resumeRun: (ctx, request) => resumeRun(ctx, deps, request),
      raiseBudget: (ctx, request) => raiseBudget(ctx, deps, request),
      exportRuns: (ctx, request) => exportRuns(ctx, deps, request),
      sendMessage: (ctx, request) => sendMessage(ctx, deps, request),
      undoRun: (ctx, request) => undoRun(ctx, deps, request),
      getUndo: (ctx, request) => getUndo(ctx, deps, request),
    },
  });
}

/** Agents and tenant settings. */
export function adminService(deps: RunApiDeps): BoundService {
  return bind(AdminService, {
    roles: {
      applyAgent: ADMINS,
      listAgents: MEMBERS,
      getAgent: MEMBERS,
      listTools: MEMBERS,
      getTool: MEMBERS,
      getTenant: SETTINGS_READERS,
      updateTenant: ADMINS,
    },
    handlers: {
      applyAgent: (ctx, request) => applyAgent(ctx, deps, request),
      listAgents: (ctx, request) => listAgents(ctx, deps, request),
      getAgent: (ctx, request) => getAgent(ctx, deps, request),
      listTools: (ctx, request) => listTools(ctx, deps, request),
      getTool: (ctx, request) => getTool(ctx, deps, request),
      getTenant: (ctx, request) => getTenant(ctx, deps, request),
      updateTenant: (ctx, request) => updateTenant(ctx, deps, request),
    },
  });
}

/** Runs that people are to look at. */
export function investigationService(deps: RunApiDeps): BoundService {
  return bind(InvestigationService, {
    roles: {
      listInvestigations: SETTINGS_READERS,
      getInvestigation: SETTINGS_READERS,
      assignInvestigation: OPERATORS,
      noteInvestigation: SETTINGS_READERS,
      closeInvestigation: OPERATORS,
    },
    handlers: {
      listInvestigations: (ctx, request) => listInvestigations(ctx, deps, request),
      getInvestigation: (ctx, request) => getInvestigation(ctx, deps, request),
      assignInvestigation: (ctx, request) => assignInvestigation(ctx, deps, request),
      noteInvestigation: (ctx, request) => noteInvestigation(ctx, deps, request),
      closeInvestigation: (ctx, request) => closeInvestigation(ctx, deps, request),
    },
  });
}

/** Evidence of a run, and what runs have touched. */
export function incidentService(deps: RunApiDeps): BoundService {
  return bind(IncidentService, {
    roles: { snapshotRun: EXPORTERS, getBlastRadius: EXPORTERS },
    handlers: {
      snapshotRun: (ctx, request) => snapshotRun(ctx, deps, request),
      getBlastRadius: (ctx, request) => getBlastRadius(ctx, deps, request),
    },
  });
}
