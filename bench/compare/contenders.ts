/** What is compared, and what to know about it. */
export interface Contender {
  readonly name: ContenderName;
  /** Its packages in bench/peers, the one that names it first. None for Steward. */
  readonly packages: readonly string[];
  /** What it is, as it is used here. */
  readonly what: string;
  /** What `bytesPer100Turns` counts. */
  readonly counted: string;
  /** What a run of it lacks, of what Steward does in the same turn. */
  readonly without: string;
}

export type ContenderName = 'steward' | 'langgraph' | 'dbos' | 'restate' | 'ai-sdk';

const UNGOVERNED = 'budgets, policy, approvals bound to arguments, signed grants, receipts, audit log, journal';

export const CONTENDERS: readonly Contender[] = [
  {
    name: 'steward',
    packages: [],
    what: 'Steward: run-api, worker, guard and catalog as processes, all promises on',
    counted: "Postgres's log (platform and catalog) + Temporal's history",
    without: '',
  },
  {
    name: 'langgraph',
    packages: ['@langchain/langgraph', '@langchain/langgraph-checkpoint-postgres'],
    what: "LangGraph.js: StateGraph with ToolNode, PostgresSaver, durability 'sync', in one process",
    counted: "Postgres's log (checkpoints and effects)",
    without: `${UNGOVERNED}; nothing takes a run up again whose process has died`,
  },
  {
    name: 'dbos',
    packages: ['@dbos-inc/dbos-sdk'],
    what: 'DBOS: a workflow with a step for every model and tool call, in one process',
    counted: "Postgres's log (steps and effects)",
    without: UNGOVERNED,
  },
  {
    name: 'restate',
    packages: ['@restatedev/restate-sdk', '@restatedev/restate-server'],
    what: 'Restate: a service with ctx.run for every model and tool call, and one node of its server',
    counted: "the log of Restate's log server + Postgres's log (effects)",
    without: UNGOVERNED,
  },
  {
    name: 'ai-sdk',
    packages: ['@temporalio/ai-sdk', 'ai'],
    what: "@temporalio/ai-sdk: generateText in a workflow, on Steward's Temporal server",
    counted: "Temporal's history + Postgres's log (effects)",
    without: `${UNGOVERNED}; a history holds at most 50 MB`,
  },
];

export const NAMES: readonly ContenderName[] = CONTENDERS.map(({ name }) => name);
