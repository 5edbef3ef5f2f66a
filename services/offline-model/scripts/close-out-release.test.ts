import { expect, test } from '@jest/globals';
import { type RehearsedTool, rehearse } from '../rehearse.ts';
import type { ScriptedAnswer } from '../script.ts';
import { closeOutRelease } from './close-out-release.ts';

const PROJECTS = {
  projects: [
    { id: 'p-1', name: 'Zephyr', status: 'active' },
    { id: 'p-2', name: 'Apollo', status: 'active', client_email: 'kim@client.example' },
  ],
};
const task = (id: string, status: string, labels: string[] = [], notes = ''): Record<string, unknown> => ({
  id,
  project_id: 'p-2',
  title: `Task ${id}`,
  status,
  assignee: null,
  labels,
  notes,
});
const TASKS = [
  task('t-1', 'in_review', ['merged']),
  task('t-2', 'in_review', ['merged']),
  task('t-3', 'in_review', []),
  task('t-4', 'open', [], 'Duplicate of t-1, filed twice'),
  task('t-5', 'open', ['merged'], 'duplicate of t-2'),
  task('t-6', 'open'),
];

const tools = (changes: Record<string, RehearsedTool> = {}): Record<string, RehearsedTool> => ({
  list_projects: () => PROJECTS,
  list_tasks_in_project: ({ status }) => ({ tasks: TASKS.filter((each) => each.status === status) }),
  update_task_status: (args) => ({ ...args }),
  delete_task: (args) => ({ deleted: args.task_id }),
  send_email: () => ({ message_id: 'm-1' }),
  ...changes,
});

const rehearsal = (
  changes: Record<string, RehearsedTool> = {},
  message = 'Close out the Apollo release',
): readonly ScriptedAnswer[] => rehearse(closeOutRelease, { message, tools: tools(changes) });

const callsOf = (answers: readonly ScriptedAnswer[]): string[][] =>
  answers.map((answer) =>
    (answer.calls ?? []).map(({ tool, args }) =>
      `${tool} ${Object.values(args ?? {})
        .slice(0, 2)
        .join(' ')}`.trim(),
    ),
  );

test('plays the whole job on what the tools say', () => {
  const answers = rehearsal();
  expect(callsOf(answers)).toEqual([
    ['list_projects'],
    ['list_tasks_in_project p-2 in_review', 'list_tasks_in_project p-2 open'],
    ['update_task_status t-1 done', 'update_task_status t-2 done'],
    ['delete_task t-4', 'delete_task t-5'],
    ['send_email kim@client.example Apollo: release closed out'],
    [],
  ]);
  expect(answers[0]?.thinking).toContain('release');
  expect(answers.slice(0, -1).every((answer) => answer.text)).toBe(true);
  expect(answers.at(-1)?.text).toMatch(/Marked done:\n- t-1 .*\n- t-2 .*\n\nDeleted as duplicates:\n- t-4 /);
  expect(answers.at(-1)?.text).toContain('Still open:\n- t-3 Task t-3\n- t-6 Task t-6');
  expect(answers.at(-1)?.text).toContain('The client was e-mailed: kim@client.example.');
});

test('accepts a denied deletion and a denied e-mail, and says so', () => {
  const answers = rehearsal({
    delete_task: (args) => (args.task_id === 't-4' ? new Error('DENIED: keep it') : {}),
    send_email: () => new Error('DENIED: not today'),
  });
  expect(callsOf(answers)).toHaveLength(6);
  const summary = answers.at(-1)?.text;
  expect(summary).toContain('Deleted as duplicates:\n- t-5');
  expect(summary).toContain('The client was not e-mailed.');
  expect(summary).toMatch(/delete_task {"task_id":"t-4"}: DENIED: keep it/);
  expect(summary).toContain('- t-4 Task t-4');
});

test('reads every page', () => {
  const pages = (args: Readonly<Record<string, unknown>>): unknown => {
    const all = TASKS.filter((each) => each.status === args.status);
    const at = Number(args.page_token ?? 0);
    return { tasks: all.slice(at, at + 2), next_page_token: at + 2 < all.length ? String(at + 2) : null };
  };
  const answers = rehearsal({ list_tasks_in_project: pages });
  expect(callsOf(answers)[2]).toEqual(['list_tasks_in_project p-2 in_review', 'list_tasks_in_project p-2 open']);
  expect(callsOf(answers)).toContainEqual(['delete_task t-4', 'delete_task t-5']);
});

test('does nothing where there is nothing to do', () => {
  const idle = rehearsal({
    list_tasks_in_project: () => ({ tasks: [] }),
    list_projects: () => ({ projects: [{ id: 'p', name: 'Apollo' }] }),
  });
  expect(callsOf(idle).flat()).toEqual([
    'list_projects',
    'list_tasks_in_project p in_review',
    'list_tasks_in_project p open',
  ]);
  expect(idle.at(-1)?.text).toContain('Nobody was e-mailed');
  expect(rehearsal({}, 'Close out the Vega release').at(-1)?.text).toContain('cannot see a project named Vega');
});

test('names a result that it cannot read', () => {
  expect(() => rehearsal({ list_projects: () => undefined })).toThrow();
  expect(() => rehearse(closeOutRelease, { message: 'Close out the Apollo release' })).toThrow(
    /list_projects, which is not there/,
  );
});
