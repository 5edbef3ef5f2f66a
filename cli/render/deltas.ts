import type { TextDelta } from '#gen/steward/run/v1/run_service_pb.ts';
import type { Look } from './look.ts';
import { displayWidth, visible } from './text.ts';

const INDENT = ' '.repeat(12);

/** Writes the model's words as they come, below the line of their turn. */
export class DeltaWriter {
  readonly #look: Look;
  #turn = 0;
  #attempt = 0;
  #column = 0;
  #open = false;

  constructor(look: Look) {
    this.#look = look;
  }

  /** What to print for a piece of text. A new attempt says so and starts over. */
  write(delta: TextDelta): string {
    const again = this.#turn === delta.turn && this.#attempt !== delta.attempt;
    const fresh = this.#turn !== delta.turn || again;
    const lead = fresh && this.#open ? this.end() : '';
    const note = again ? `${INDENT}${this.#look.paint.dim(`(attempt ${delta.attempt}: starts over)`)}\n` : '';
    this.#turn = delta.turn;
    this.#attempt = delta.attempt;
    return lead + note + this.#text(delta.text);
  }

  /** What to print before anything else may be printed. */
  end(): string {
    if (!this.#open) return '';
    this.#open = false;
    this.#column = 0;
    return '\n';
  }

  #text(text: string): string {
    const { paint, width } = this.#look;
    let out = '';
    for (const piece of text.split(/(\n)|(?<= )/).filter((part) => part !== undefined && part !== '')) {
      if (piece === '\n') {
        out += this.#open ? this.end() : '';
        continue;
      }
      const shown = visible(piece);
      const columns = displayWidth(shown);
      if (this.#open && this.#column + columns > width) out += this.end();
      out += (this.#open ? '' : INDENT) + paint.dim(shown);
      this.#column = (this.#open ? this.#column : INDENT.length) + columns;
      this.#open = true;
    }
    return out;
  }
}
