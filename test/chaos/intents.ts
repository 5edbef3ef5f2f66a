/**
 * What each run of the suite is to bring about. The scripted model and the count read it from here, each on its own:
 * nothing that Steward says stands between them.
 */

/** One effect, wanted once. */
export type Intent = {
  /** `<subject>: <what was done>`, as the catalogs' own tables tell it. */
  readonly effect: string;
  /** Effects that must have been reported first. */
  readonly after: readonly string[];
} & (
  | { readonly tool: 'create_task'; readonly project: string; readonly title: string }
  | { readonly tool: 'update_task_status'; readonly title: string; readonly status: string }
  | { readonly tool: 'assign_task'; readonly title: string; readonly assignee: string }
  | { readonly tool: 'delete_task'; readonly title: string }
  | { readonly tool: 'send_email'; readonly subject: string }
);

export const CREATED = 'created';
export const DELETED = 'deleted';
export const MAILED = 'mailed';

/** Names an effect. */
export function effectOf(subject: string, what: string): string {
  return `${subject}: ${what}`;
}

/** What every title and subject of one suite begins with, so that nothing else is counted. */
export function prefixOf(seed: number): string {
  return `chaos ${seed} `;
}

const PROJECTS = ['apollo', 'gemini'] as const;
const PEOPLE = ['ada@acme.example', 'olga@acme.example'] as const;

/** Effects of one run. */
export const EFFECTS_PER_RUN = 12;

/** The effects that run number `run` of a suite is to bring about: each once, and all told from those of other runs. */
export function intentsOf(seed: number, run: number): readonly Intent[] {
  const [a, b, c, d] = ['A', 'B', 'C', 'D'].map((letter) => `${prefixOf(seed)}run ${run} ${letter}`) as Four;
  const intents: Intent[] = [
    create(a, PROJECTS[run % 2] ?? 'apollo'),
    create(b, PROJECTS[(run + 1) % 2] ?? 'apollo'),
    create(c, 'apollo'),
    status(a, 'in_progress'),
    create(d, 'apollo'),
    assign(b, PEOPLE[run % 2] ?? PEOPLE[0]),
    remove(d, [effectOf(d, CREATED)]),
    status(b, 'done', effectOf(b, `assigned to ${PEOPLE[run % 2]}`)),
    assign(c, PEOPLE[(run + 1) % 2] ?? PEOPLE[0]),
    status(a, 'done', effectOf(a, 'status in_progress')),
    remove(c, [effectOf(c, `assigned to ${PEOPLE[(run + 1) % 2]}`)]),
  ];
  // Some mail early, some late, so that there is always some.
  intents.splice((run * 3) % (intents.length + 1), 0, mail(`${prefixOf(seed)}run ${run} mail`));
  return intents;
}

type Four = [string, string, string, string];

function create(title: string, project: string): Intent {
  return { tool: 'create_task', effect: effectOf(title, CREATED), after: [], project, title };
}

function status(title: string, to: string, after: string = effectOf(title, CREATED)): Intent {
  return { tool: 'update_task_status', effect: effectOf(title, `status ${to}`), after: [after], title, status: to };
}

function assign(title: string, assignee: string): Intent {
  const after = [effectOf(title, CREATED)];
  return { tool: 'assign_task', effect: effectOf(title, `assigned to ${assignee}`), after, title, assignee };
}

function remove(title: string, after: readonly string[]): Intent {
  return { tool: 'delete_task', effect: effectOf(title, DELETED), after, title };
}

function mail(subject: string): Intent {
  return { tool: 'send_email', effect: effectOf(subject, MAILED), after: [], subject };
}

/** Tools whose second effect can be seen. A second deletion finds nothing, and mail stores drop a repeated mail. */
export const SEEN_TWICE: ReadonlySet<string> = new Set([
  'create_task',
  'update_task_status',
  'assign_task',
  'modify_pending_order_address',
  'modify_user_address',
]);
/** Tools that have an effect at all. */
export const EFFECT_TOOLS: ReadonlySet<string> = new Set([
  ...SEEN_TWICE,
  'delete_task',
  'send_email',
  'cancel_pending_order',
  'modify_pending_order_payment',
  'modify_pending_order_items',
  'exchange_delivered_order_items',
  'return_delivered_order_items',
]);
