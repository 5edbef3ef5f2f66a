/**
 * `turns` turns of one call each, every one with other arguments, and an end. `project_id` says where tasks are filed.
 * Says little, and that at once or after `model_ms`, so that a turn costs what is made of it.
 */
export const benchTurns = {
  name: 'bench-turns',
  answer: (view: View) => {
    const turns = view.param('turns', 10);
    const pace = { firstMs: view.param('model_ms', 0) };
    if (view.turn >= turns) return { text: `All ${turns} tasks are filed.`, pace };
    const args = { project_id: view.param('project_id', ''), title: `Task ${view.turn + 1} of ${turns}` };
    return { text: `Filing task ${view.turn + 1} of ${turns}.`, calls: [{ tool: 'create_task', args }], pace };
  },
};

interface View {
  readonly turn: number;
  param<T>(name: string, fallback: T): T;
}
