/**
 * `turns` turns of one call each, every one with other arguments, and an end. `project_id` says where tasks are filed.
 * Says little, and that at once or after `model_ms`, so that a turn costs what is made of it.
 */
export const benchTurns = {
  name: 'bench-turns',
  answer: (view: View) => {
    const turns = view.param('turns', 10);
    const pace = { firstMs: view.param('model_ms', 0) };
    // By what was said last: a long run leaves its oldest turns out.
    const turn = Number(/^Filing task (\d+) of/.exec(view.lastAssistantText)?.[1] ?? 0);
    if (turn >= turns) return { text: `All ${turns} tasks are filed.`, pace };
    const args = { project_id: view.param('project_id', ''), title: `Task ${turn + 1} of ${turns}` };
    return { text: `Filing task ${turn + 1} of ${turns}.`, calls: [{ tool: 'create_task', args }], pace };
  },
};

interface View {
  readonly lastAssistantText: string;
  param<T>(name: string, fallback: T): T;
}
