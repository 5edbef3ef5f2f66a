/** Stop orders, and which of them holds for what. */

export const SWITCH_SCOPES = ['product', 'tenant', 'agent', 'tool', 'user', 'run'] as const;
export type SwitchScope = (typeof SWITCH_SCOPES)[number];

/** kill: nothing of the scope goes on. safe_mode: reads go on, effects are refused. */
export type SwitchMode = 'kill' | 'safe_mode';

/** What becomes of the scope's running runs. `none`: they go on without what is refused. */
export type SwitchAction = 'cancel' | 'pause' | 'none';

/** A switch that stands and may concern a run. */
export interface Stop {
  readonly id: string;
  readonly scope: SwitchScope;
  readonly target: string;
  readonly mode: SwitchMode;
  readonly action: SwitchAction;
}

const SCOPES: ReadonlySet<string> = new Set(SWITCH_SCOPES);
const MODES: ReadonlySet<string> = new Set(['kill', 'safe_mode'] satisfies SwitchMode[]);
const ACTIONS: ReadonlySet<string> = new Set(['cancel', 'pause', 'none'] satisfies SwitchAction[]);

/** The switch that stops the whole run, the one that cancels before one that pauses; null where none does. */
export function stopOfRun(stops: readonly Stop[]): Stop | null {
  const kills = stops.filter((stop) => stop.mode !== 'safe_mode' && stop.scope !== 'tool');
  return kills.find((stop) => stop.action !== 'pause') ?? kills[0] ?? null;
}

/** The switch that refuses a call of this tool; null where none does. */
export function stopOfCall(
  stops: readonly Stop[],
  call: { readonly tool: string; readonly effect: boolean },
): Stop | null {
  const concerns = (stop: Stop): boolean => stop.scope !== 'tool' || stop.target === call.tool;
  const run = stopOfRun(stops);
  if (run) return run;
  const kill = stops.find((stop) => stop.mode !== 'safe_mode' && concerns(stop));
  if (kill) return kill;
  return call.effect ? (stops.find((stop) => stop.mode === 'safe_mode' && concerns(stop)) ?? null) : null;
}

/** What is told to a caller. `where` names the scope in words. */
export function stopMessage(stop: Stop): string {
  const what = stop.target === '' ? `this ${stop.scope}` : `${stop.scope} ${stop.target}`;
  return stop.mode === 'safe_mode'
    ? `Safe mode is on for ${what}: reads go on, effects are refused (switch ${stop.id}).`
    : `A kill switch is on for ${what} (switch ${stop.id}). An operator must lift it first.`;
}

/**
 * The standing switches as the database gave them. Throws RangeError where that is not a list of them: what cannot be
 * understood allows nothing.
 */
export function readStops(value: unknown): readonly Stop[] {
  if (!Array.isArray(value)) throw new RangeError('the standing kill switches could not be read');
  return value.map((item: Partial<Stop> | null) => {
    const { id, scope, target, mode, action } = item ?? {};
    const texts = typeof id === 'string' && typeof target === 'string';
    const known = SCOPES.has(scope ?? '') && MODES.has(mode ?? '') && ACTIONS.has(action ?? '');
    if (!texts || !known) throw new RangeError('a kill switch could not be read');
    return { id, scope, target, mode, action } as Stop;
  });
}
