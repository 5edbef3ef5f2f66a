import { type Effect, UndoState, type UndoStep } from '#gen/steward/run/v1/run_service_pb.ts';
import { changeLines } from './change.ts';
import type { Colour, Look } from './look.ts';
import { oneLine, visible } from './text.ts';

/** What an effect says of how it stands with undoing; `Effect` of the run service fits. */
export type UndoFacts = Pick<Effect, 'callId' | 'tool' | 'undoable' | 'certain' | 'undoState' | 'undoneBy'>;

/** Whether an effect can be undone and is not undone yet. */
export function isToUndo(effect: UndoFacts): boolean {
  return effect.undoable && effect.certain && effect.undoState !== UndoState.UNDONE;
}

/** One line: whether an effect is undone, can be undone, or cannot. */
export function standingLine(effect: UndoFacts, look: Look): string {
  const { paint } = look;
  const name = `${visible(effect.callId)} ${visible(effect.tool)}`;
  if (effect.undoState === UndoState.UNDONE)
    return `${paint.green('✓')} ${name}  undone for ${visible(effect.undoneBy)}`;
  if (!effect.certain) return `${paint.red('?')} ${name}  look first: nobody knows whether it took place`;
  if (!effect.undoable) return `${paint.red('✗')} ${name}  cannot be undone`;
  const tried = TRIED[effect.undoState];
  return `${paint.green('↶')} ${name}${tried === undefined ? '' : `  ${tried}, for ${visible(effect.undoneBy)}`}`;
}

const TRIED: Readonly<Record<number, string>> = {
  [UndoState.PENDING]: 'being undone',
  [UndoState.REFUSED]: 'its undo was refused',
  [UndoState.UNKNOWN]: 'may have been undone',
};

/** What undoing these effects would change: the last one first, each with its change the other way round. */
export function plannedLines(effects: readonly Effect[], look: Look): readonly string[] {
  return effects.toReversed().flatMap((effect) => {
    if (!isToUndo(effect) || effect.change === undefined) return [standingLine(effect, look)];
    const fields = effect.change.fields.map((field) => ({
      ...field,
      beforeJson: field.afterJson,
      afterJson: field.beforeJson,
    }));
    const back = { ...effect.change, fields, quantities: {} };
    return [
      `${standingLine(effect, look)}  ${look.paint.dim(`was: ${oneLine(effect.change.summary)}`)}`,
      ...changeLines(back, look, { indent: '  ', fieldsOnly: true }),
    ];
  });
}

const ENDS: Readonly<Record<number, readonly [string, Colour, string]>> = {
  [UndoState.PENDING]: ['…', 'dim', 'pending'],
  [UndoState.UNDONE]: ['✓', 'green', 'undone'],
  [UndoState.REFUSED]: ['✗', 'yellow', 'refused'],
  [UndoState.CANNOT]: ['✗', 'red', 'cannot be undone'],
  [UndoState.UNKNOWN]: ['!', 'red', 'UNKNOWN whether undone'],
};

/** What came of one step of an undo. */
export function stepLine(step: UndoStep, look: Look): string {
  const [mark, colour, what] = ENDS[step.state] ?? ['·', 'dim', `state ${step.state}`];
  const told = step.change?.summary ?? step.message;
  const code = step.code === '' ? '' : `${visible(step.code)}: `;
  const head = look.paint[colour](`${mark} ${visible(step.callId)} ${visible(step.tool)} ${what}`);
  return told === '' ? head : `${head}  ${code}${oneLine(told)}`;
}
