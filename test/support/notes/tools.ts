import { sql } from 'kysely';
import { z } from 'zod';
import { fieldChanges, standsAsChanged } from '#catalog-kit/change.ts';
import { toolsOver } from '#catalog-kit/define-tool.ts';
import { refuse } from '#catalog-kit/refusal.ts';
import type { DatabaseContext, Tool, ToolContext } from '#catalog-kit/tool.ts';

export interface NotesTables {
  notes: { tenant: string; id: string; folder: string; text: string };
}

const defineTool = toolsOver<NotesTables>();
const id = z.string().min(1).max(40);
const input = z.strictObject({ note_id: id, folder: id, text: z.string().max(200) });
const output = z.strictObject({ note_id: id });
type NoteArgs = z.output<typeof input>;

/** The session that holds this advisory lock holds `add_note_held` right before it is done. */
export const HOLD_LOCK = 4_711;

/** The far side of `post_note` and `ring_note`: what a test lets it do. */
export interface FarSide {
  act(ctx: ToolContext, args: { readonly text: string }): Promise<void>;
}

async function insertNote(ctx: DatabaseContext<NotesTables>, args: NoteArgs) {
  ctx.requireResource(`folder/${args.folder}`);
  const { note_id, folder, text } = args;
  const taken = await ctx.db.selectFrom('notes').select('id').where('id', '=', note_id).executeTakeFirst();
  // A text of `again` is for tests that count what was done.
  if (taken !== undefined && text !== 'again') throw refuse('NOTE_EXISTS', `There is a note ${note_id} already.`);
  const stored = text === 'again' ? `${note_id}-${crypto.randomUUID()}` : note_id;
  await ctx.db.insertInto('notes').values({ tenant: ctx.tenant, id: stored, folder, text }).execute();
  const fields = fieldChanges(`note/${note_id}`, null, { folder, text });
  return { result: { note_id }, change: { summary: `add note ${note_id}`, fields, quantities: { 'rows.added': 1 } } };
}

const writing = {
  version: '1',
  input,
  output,
  risk: 'cautious',
  labels: ['writes'],
  permissions: ['notes:write'],
  quantities: ['rows.added'],
} as const;

const addNote = defineTool({
  ...writing,
  effect: 'transactional',
  name: 'add_note',
  description: 'Adds a note.',
  resourceKeys: ['note/{note_id}'],
  preview: async (_ctx, { note_id, folder, text }) => ({
    summary: `add note ${note_id}`,
    fields: fieldChanges(`note/${note_id}`, null, { folder, text }),
    quantities: { 'rows.added': 1 },
  }),
  execute: insertNote,
  async undo(ctx, { args, change }) {
    const { note_id } = args;
    const now = await ctx.db.selectFrom('notes').selectAll().where('id', '=', note_id).forUpdate().executeTakeFirst();
    const { folder, text } = now ?? {};
    const present = folder === undefined || text === undefined ? null : { folder, text };
    if (!standsAsChanged(change, `note/${note_id}`, present)) {
      throw refuse('CHANGED_SINCE', `The note ${note_id} was changed since it was added.`);
    }
    await ctx.db.deleteFrom('notes').where('id', '=', note_id).execute();
    return {
      summary: `remove note ${note_id}`,
      fields: fieldChanges(`note/${note_id}`, present, null),
      quantities: {},
    };
  },
});

const noUndo = async () => {
  throw refuse('CHANGED_SINCE', 'Cannot be undone any more.');
};

const addNoteHeld = defineTool({
  ...writing,
  effect: 'transactional',
  name: 'add_note_held',
  description: 'Adds a note, and waits before it is done.',
  async execute(ctx, args) {
    const added = await insertNote(ctx, args);
    await sql`select pg_advisory_xact_lock(${HOLD_LOCK})`.execute(ctx.db);
    return added;
  },
  undo: noUndo,
});

const addNoteLate = defineTool({
  ...writing,
  effect: 'transactional',
  name: 'add_note_late',
  description: 'Adds a note, and is done when nobody waits any more.',
  async execute(ctx, args) {
    const added = await insertNote(ctx, args);
    await new Promise<void>((done) => ctx.signal.addEventListener('abort', () => done(), { once: true }));
    return added;
  },
  undo: noUndo,
});

const addNoteWrong = defineTool({
  ...writing,
  effect: 'transactional',
  name: 'add_note_wrong',
  description: 'Adds a note and breaks its word.',
  async execute(ctx, args) {
    const added = await insertNote(ctx, args);
    return { ...added, change: { ...added.change, quantities: { 'notes.spent': 1 } } };
  },
  undo: noUndo,
});

const listNotes = defineTool({
  name: 'list_notes',
  version: '1',
  description: 'Lists notes, each repeated as often as asked for.',
  input: z.strictObject({ times: z.int().min(1).max(100_000).optional() }),
  output: z.strictObject({ notes: z.array(z.string()) }),
  effect: 'none',
  risk: 'safe',
  labels: ['reads_private'],
  permissions: ['notes:read'],
  async execute(ctx, { times = 1 }) {
    const rows = await ctx.db.selectFrom('notes').select('id').orderBy('id').execute();
    return { notes: rows.flatMap((row) => Array<string>(times).fill(row.id)) };
  },
});

const addNoteLarge = defineTool({
  ...writing,
  effect: 'transactional',
  name: 'add_note_large',
  description: 'Adds a note and answers with more than can be sent.',
  output: z.strictObject({ copies: z.array(z.string()) }),
  async execute(ctx, args) {
    const { change } = await insertNote(ctx, args);
    return { result: { copies: Array<string>(30_000).fill('x'.repeat(40)) }, change };
  },
  undo: noUndo,
});

const readsOnly = defineTool({
  name: 'write_in_read',
  version: '1',
  description: 'Claims to read, and writes.',
  input: z.strictObject({}),
  output: z.strictObject({}),
  effect: 'none',
  risk: 'safe',
  async execute(ctx) {
    await ctx.db.insertInto('notes').values({ tenant: ctx.tenant, id: 'sly', folder: 'f', text: 't' }).execute();
    return {};
  },
});

function farTools(far: FarSide): Tool[] {
  const common = {
    version: '1',
    input: z.strictObject({ text: z.string().max(200) }),
    output: z.strictObject({ key: z.string().max(200) }),
    risk: 'irreversible',
    labels: ['egress'],
    quantities: ['letters'],
    preview: async (_ctx: ToolContext, { text }: { text: string }) => ({
      summary: `send ${text}`,
      fields: [],
      quantities: { letters: 1 },
    }),
    async check(_ctx: ToolContext, { text }: { text: string }) {
      if (text === 'nonsense') throw refuse('NONSENSE', 'That makes no sense.');
    },
    async execute(ctx: ToolContext, args: { text: string }) {
      await far.act(ctx, args);
      return {
        result: { key: ctx.key },
        change: { summary: `sent ${args.text}`, fields: [], quantities: { letters: 1 } },
      };
    },
  } as const;
  return [
    defineTool({
      ...common,
      name: 'post_note',
      description: 'Sends a note to someone who knows keys.',
      effect: 'keyed',
    }),
    defineTool({
      ...common,
      name: 'ring_note',
      description: 'Sends a note to someone who does not.',
      effect: 'unkeyed',
    }),
  ];
}

/** The tools of the test catalog. */
export function notesTools(far: FarSide): Tool[] {
  return [addNote, addNoteHeld, addNoteLate, addNoteWrong, addNoteLarge, listNotes, readsOnly, ...farTools(far)];
}
