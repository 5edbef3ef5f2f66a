import pg from 'pg';

/** Statements that are kept prepared; what comes after so many different ones is parsed every time. */
const MOST_NAMES = 500;
/** How every text begins that sets what holds for one transaction only. All its parameters are texts. */
export const OPENING = 'select set_config(';

interface Answer {
  readonly command: string;
  readonly rowCount: number | null;
  readonly rows: readonly unknown[];
}
type Ask = (config: unknown, values?: unknown, callback?: unknown) => Promise<Answer | readonly Answer[]>;

/** Texts by their names; null for one that was asked for once. Each session prepares them for itself. */
const names = new Map<string, string | null>();
let named = 0;

/**
 * A session that saves round trips and parsing: `begin` goes out with what the transaction sets, in one message, and
 * statements that come again are prepared. One that says `*` is not: its prepared form would fail after a migration.
 */
export class Session extends pg.Client {
  #begins = false;

  constructor(config?: string | pg.ClientConfig) {
    super(config);
    const ask = super.query.bind(this) as Ask;
    this.query = ((config: unknown, values?: unknown, callback?: unknown) => {
      if (typeof config !== 'string' || typeof values === 'function' || callback !== undefined) {
        return ask(config, values, callback);
      }
      return this.#ask(ask, config, (values ?? []) as readonly unknown[]);
    }) as typeof this.query;
  }

  async #ask(ask: Ask, text: string, values: readonly unknown[]): Promise<Answer | readonly Answer[]> {
    if (text === 'begin') {
      this.#begins = true;
      return nothing('BEGIN');
    }
    if (this.#begins) {
      this.#begins = false;
      if (text === 'commit' || text === 'rollback') return nothing(text.toUpperCase());
      if (text.startsWith(OPENING)) {
        const answers = (await ask(`begin; ${inlined(text, values)}`)) as readonly Answer[];
        return answers.at(-1) ?? nothing('SELECT');
      }
      await ask('begin');
    }
    const name = nameOf(text, values);
    return name === null ? ask(text, values) : ask({ name, text, values });
  }
}

function nothing(command: string): Answer {
  return { command, rowCount: null, rows: [] };
}

/** One message holds several statements only where they have no parameters. */
function inlined(text: string, values: readonly unknown[]): string {
  return text.replaceAll(/\$(\d+)/g, (_, number) => pg.escapeLiteral(String(values[Number(number) - 1])));
}

function nameOf(text: string, values: readonly unknown[]): string | null {
  if (values.length === 0 || text.includes('*')) return null;
  const known = names.get(text);
  if (known) return known;
  if (known === undefined) {
    if (names.size < MOST_NAMES) names.set(text, null);
    return null;
  }
  named += 1;
  const name = `steward_${named}`;
  names.set(text, name);
  return name;
}
