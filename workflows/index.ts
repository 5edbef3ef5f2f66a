export { agentRun } from './agent-run/agent-run.ts';
export { maintenance } from './maintenance/maintenance.ts';
export { undoRun } from './undo-run/undo-run.ts';
