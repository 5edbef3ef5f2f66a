import Anthropic from '@anthropic-ai/sdk';
import type pg from 'pg';
import type { BareActivities, StepInput } from './loops.ts';

/** Where the loops keep their rows. */
export const BARE_SCHEMA = 'bench_bare';

/** The tables of the bare loop, as SQL. */
export const BARE_TABLES = `
  drop schema if exists ${BARE_SCHEMA} cascade;
  create schema ${BARE_SCHEMA};
  create table ${BARE_SCHEMA}.steps (
    run text not null, number int not null, content json not null, at timestamptz not null default now(),
    primary key (run, number));
  create table ${BARE_SCHEMA}.effects (
    run text not null, turn int not null, title text not null, at timestamptz not null default now(),
    primary key (run, turn));`;

/** Stores one step of a conversation; a repeat changes nothing. */
export const INSERT_STEP = `
  insert into ${BARE_SCHEMA}.steps (run, number, content) values ($1, $2, $3) on conflict do nothing`;

const TOOLS: Anthropic.Tool[] = [
  {
    name: 'create_task',
    description: 'Adds an open task to a project.',
    input_schema: {
      type: 'object',
      properties: { project_id: { type: 'string' }, title: { type: 'string' } },
      required: ['project_id', 'title'],
      additionalProperties: false,
    },
  },
];

/**
 * The activities of the bare loop: a model call over the provider's SDK, and an effect in Postgres with its result. Each
 * is one commit and passes nothing on but numbers. Both may be repeated.
 */
export function bareActivities(pool: pg.Pool, model: string): BareActivities {
  const client = new Anthropic({ apiKey: 'any', baseURL: model, maxRetries: 0, logLevel: 'off' });
  return {
    async say({ run, turn }) {
      const said = await pool.query<{ number: number; content: Anthropic.ContentBlockParam[] }>(
        `select number, content from ${BARE_SCHEMA}.steps where run = $1 order by number`,
        [run],
      );
      const answer = await client.messages.create({
        model: 'offline-1',
        max_tokens: 256,
        system: [{ type: 'text', text: 'You file the tasks you are told to file, one in every turn.' }],
        tools: TOOLS,
        messages: said.rows.map(({ number, content }) => ({ role: number % 2 === 0 ? 'user' : 'assistant', content })),
        metadata: { user_id: run },
      });
      await pool.query(INSERT_STEP, [run, 2 * turn - 1, JSON.stringify(answer.content.flatMap(sentBack))]);
      return { calls: answer.content.filter((block) => block.type === 'tool_use').length };
    },

    async take(input) {
      const effect = `insert into ${BARE_SCHEMA}.effects (run, turn, title) values ($1, $2, $3) on conflict do nothing`;
      const { run, turn } = input;
      const client = await pool.connect();
      try {
        await client.query('begin');
        const call = await callOf(client, input);
        const { title } = call.input as { title: string };
        await client.query(effect, [run, turn, title]);
        const result = JSON.stringify({ task: { id: `${run}-${turn}`, title, status: 'open' } });
        const content = [{ type: 'tool_result', tool_use_id: call.id, content: result }];
        await client.query(INSERT_STEP, [run, 2 * turn, JSON.stringify(content)]);
        await client.query('commit');
      } catch (error) {
        await client.query('rollback').catch(() => undefined);
        throw error;
      } finally {
        client.release();
      }
      return { outcome: 'done' };
    },

    async nothing() {},
  };
}

/** A block as the provider takes it again. */
function sentBack(block: Anthropic.ContentBlock): Anthropic.ContentBlockParam[] {
  if (block.type === 'text') return [{ type: 'text', text: block.text }];
  if (block.type === 'tool_use') return [{ type: 'tool_use', id: block.id, name: block.name, input: block.input }];
  return [];
}

async function callOf(client: pg.PoolClient, { run, turn }: StepInput): Promise<Anthropic.ToolUseBlock> {
  const { rows } = await client.query<{ content: Anthropic.ContentBlock[] }>(
    `select content from ${BARE_SCHEMA}.steps where run = $1 and number = $2`,
    [run, 2 * turn - 1],
  );
  const call = rows[0]?.content.find((block) => block.type === 'tool_use');
  if (!call) throw new Error(`Turn ${turn} of ${run} proposes nothing.`);
  return call;
}
