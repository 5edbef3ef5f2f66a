/** How output looks: colours or not, how wide, and the time that "3 min ago" is counted from. */
export interface Look {
  readonly paint: Paint;
  /** Columns; Infinity where nothing shall be cut or wrapped, as for a pipe. */
  readonly width: number;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** IANA name; undefined: the machine's own. */
  readonly timeZone?: string;
}

const CODES = {
  bold: [1, 22],
  dim: [2, 22],
  inverse: [7, 27],
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
  blue: [34, 39],
  cyan: [36, 39],
} as const;

export type Colour = keyof typeof CODES;

/** One function per colour. */
export type Paint = Readonly<Record<Colour, (text: string) => string>>;

function paintOf(enabled: boolean): Paint {
  const names = Object.keys(CODES) as Colour[];
  const entries = names.map((name) => {
    const [open, close] = CODES[name];
    return [name, (text: string) => (enabled && text !== '' ? `\u001b[${open}m${text}\u001b[${close}m` : text)];
  });
  return Object.fromEntries(entries) as Paint;
}

/** Writes colours. */
export const COLOURS: Paint = paintOf(true);

/** Writes none. */
export const PLAIN: Paint = paintOf(false);

/** What `lookFor` needs to know of a stream; process.stdout fits. */
export interface LookStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
}

/**
 * The look that fits a stream: colours on a terminal unless NO_COLOR is set (or TERM is dumb), or where FORCE_COLOR is;
 * a terminal's width, else COLUMNS where it is set, else no limit.
 */
export function lookFor(
  stream: LookStream,
  env: Readonly<Record<string, string | undefined>> = process.env,
  now: number = Date.now(),
): Look {
  const set = (name: string): boolean => env[name] !== undefined && env[name] !== '';
  const forced = set('FORCE_COLOR') && env.FORCE_COLOR !== '0';
  const colours = set('NO_COLOR') ? false : forced || (stream.isTTY === true && env.TERM !== 'dumb');
  const columns = Number(env.COLUMNS);
  const told = Number.isInteger(columns) && columns > 0 ? columns : Number.POSITIVE_INFINITY;
  const width = stream.isTTY === true ? (stream.columns ?? 80) : told;
  return { paint: colours ? COLOURS : PLAIN, width: Math.max(40, width), now };
}
