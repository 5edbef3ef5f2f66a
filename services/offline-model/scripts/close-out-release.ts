import type { ConversationView, SeenCall } from '../conversation.ts';
import { defineScript, type ScriptedAnswer, type ScriptedCall } from '../script.ts';

interface Project {
  readonly id: string;
  readonly name: string;
  readonly client_email?: string | null;
}

interface Task {
  readonly id: string;
  readonly title: string;
  readonly status: string;
  readonly labels?: readonly string[];
  readonly notes?: string;
}

interface TaskPage {
  readonly tasks: readonly Task[];
  readonly next_page_token?: string | null;
}

const ASKED = /close out the (\S+) release/i;
const DUPLICATE = /duplicate of ([\w-]+)/i;
/** The statuses whose tasks decide whether a release is finished; each is read on its own, side by side. */
const STATUSES = ['in_review', 'open'] as const;
/** At most this many calls in one turn, as a run allows. */
const MOST_CALLS = 10;

/**
 * "Close out the Apollo release": looks at the projects, reads the release's tasks, marks the merged ones done, wants
 * the duplicates deleted and the client told, and sums up what really happened. Every step is chosen by what the
 * conversation shows, so a denied deletion or e-mail is accepted and told.
 */
export const closeOutRelease = defineScript({
  name: 'close-out-release',
  match: (view) => ASKED.test(view.firstUserText),
  answer: (view) => {
    if (!view.called('list_projects')) return lookAtProjects();
    const name = ASKED.exec(view.firstUserText)?.[1] ?? view.param('project', 'Apollo');
    const project = view
      .results<{ readonly projects: readonly Project[] }>('list_projects')
      .flatMap((page) => page.projects)
      .find((candidate) => candidate.name.toLowerCase().includes(name.toLowerCase()));
    if (project === undefined) {
      return { text: `I cannot see a project named ${name}, so there is nothing that I could close out.` };
    }
    return (
      readTasks(view, project) ??
      markFinished(view) ??
      deleteDuplicates(view) ??
      tellClient(view, project) ?? { text: summary(view, project) }
    );
  },
});

function lookAtProjects(): ScriptedAnswer {
  return {
    thinking:
      'The release has to be closed out. First I need the project behind it, then its tasks: the finished ones can be ' +
      'marked done, duplicates should go, and the client will want to hear of it. Deleting and e-mailing cannot be ' +
      'taken back easily, so they come last and only as far as the data supports them.',
    text: "I'll look at the projects first.",
    calls: [{ tool: 'list_projects', args: {} }],
  };
}

function readTasks(view: ConversationView, project: Project): ScriptedAnswer | null {
  const calls = STATUSES.flatMap((status): ScriptedCall[] => {
    const pages = view.callsOf('list_tasks_in_project').filter((call) => call.args.status === status);
    const args = { project_id: project.id, status };
    const last = pages.at(-1);
    if (last === undefined) return [{ tool: 'list_tasks_in_project', args }];
    const token = last.isError ? null : view.json<TaskPage>(last).next_page_token;
    return token ? [{ tool: 'list_tasks_in_project', args: { ...args, page_token: token } }] : [];
  });
  if (calls.length === 0) return null;
  const first = !view.called('list_tasks_in_project');
  return { text: first ? `${project.name} it is. Reading its tasks.` : 'There are more tasks.', calls };
}

function markFinished(view: ConversationView): ScriptedAnswer | null {
  const asked = new Set(view.callsOf('update_task_status').map(idOf));
  const finished = tasksOf(view).filter((task) => isFinished(task) && !asked.has(task.id));
  if (finished.length === 0) return null;
  return {
    text: `${count(finished.length, 'task')} in review ${finished.length === 1 ? 'is' : 'are'} merged. Marking as done.`,
    calls: finished
      .slice(0, MOST_CALLS)
      .map((task) => ({ tool: 'update_task_status', args: { task_id: task.id, status: 'done' } })),
  };
}

function deleteDuplicates(view: ConversationView): ScriptedAnswer | null {
  const asked = new Set(view.callsOf('delete_task').map(idOf));
  const duplicates = tasksOf(view).filter((task) => originalOf(task) !== null && !asked.has(task.id));
  if (duplicates.length === 0) return null;
  const named = duplicates.map((task) => `${task.id} (of ${originalOf(task)})`).join(', ');
  return {
    text: `${count(duplicates.length, 'task')} ${duplicates.length === 1 ? 'is a duplicate' : 'are duplicates'}: ${named}. I would like to delete ${duplicates.length === 1 ? 'it' : 'them'}.`,
    calls: duplicates.slice(0, MOST_CALLS).map((task) => ({ tool: 'delete_task', args: { task_id: task.id } })),
  };
}

function tellClient(view: ConversationView, project: Project): ScriptedAnswer | null {
  if (view.called('send_email') || !project.client_email) return null;
  return {
    text: 'The client should know.',
    calls: [
      {
        tool: 'send_email',
        args: {
          to: [project.client_email],
          subject: `${project.name}: release closed out`,
          body: [
            'Hello,',
            '',
            `the ${project.name} release is closed out.`,
            ...list(
              'Finished:',
              done(view).map((task) => task.title),
            ),
            ...list(
              'Still open:',
              stillOpen(view).map((task) => task.title),
            ),
            '',
            'Kind regards',
          ].join('\n'),
        },
      },
    ],
  };
}

function summary(view: ConversationView, project: Project): string {
  const refused = view.calls.filter((call) => call.isError);
  const deleted = view.callsOf('delete_task').filter((call) => !call.isError);
  const [mail] = view.callsOf('send_email');
  return [
    `The ${project.name} release is closed out as far as I was allowed to.`,
    ...list('Marked done:', done(view).map(titled)),
    ...list(
      'Deleted as duplicates:',
      deleted.map((call) => titledById(view, idOf(call))),
    ),
    ...list('Still open:', stillOpen(view).map(titled)),
    '',
    mail === undefined
      ? 'Nobody was e-mailed: the project names no client.'
      : mail.isError
        ? 'The client was not e-mailed.'
        : `The client was e-mailed: ${String(mail.args.to)}.`,
    ...list(
      'Not done, and left at that:',
      refused.map((call) => `${call.tool} ${JSON.stringify(call.args).slice(0, 80)}: ${call.text.slice(0, 200)}`),
    ),
  ].join('\n');
}

/** The release's tasks as they were read, each once. */
function tasksOf(view: ConversationView): readonly Task[] {
  const all = view.results<TaskPage>('list_tasks_in_project').flatMap((page) => page.tasks);
  return [...new Map(all.map((task) => [task.id, task])).values()];
}

function isFinished(task: Task): boolean {
  return task.status === 'in_review' && (task.labels ?? []).includes('merged') && originalOf(task) === null;
}

function originalOf(task: Task): string | null {
  return DUPLICATE.exec(task.notes ?? '')?.[1] ?? null;
}

function done(view: ConversationView): readonly Task[] {
  const ids = new Set(view.callsOf('update_task_status').flatMap((call) => (call.isError ? [] : [idOf(call)])));
  return tasksOf(view).filter((task) => ids.has(task.id));
}

function stillOpen(view: ConversationView): readonly Task[] {
  const settled = [...view.callsOf('update_task_status'), ...view.callsOf('delete_task')];
  const ids = new Set(settled.flatMap((call) => (call.isError ? [] : [idOf(call)])));
  return tasksOf(view).filter((task) => !ids.has(task.id));
}

function idOf(call: SeenCall): string {
  return String(call.args.task_id);
}

function titled(task: Task): string {
  return `${task.id} ${task.title}`;
}

function titledById(view: ConversationView, id: string): string {
  const task = tasksOf(view).find((candidate) => candidate.id === id);
  return task === undefined ? id : titled(task);
}

function list(heading: string, items: readonly string[]): readonly string[] {
  return items.length === 0 ? [] : ['', heading, ...items.map((item) => `- ${item}`)];
}

function count(items: number, noun: string): string {
  return `${items} ${noun}${items === 1 ? '' : 's'}`;
}
