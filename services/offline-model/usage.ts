import { createHash } from 'node:crypto';
import type { Request } from './wire.ts';

/** Blocks a breakpoint looks back over for a prefix that an earlier request wrote. */
const LOOKBACK = 20;
/** Remembered prefixes; the least recently used go first. */
const MOST_PREFIXES = 20_000;
/** What every prompt carries behind its last block. */
const FRAME_TOKENS = 4;

/** Input tokens as the API reports them: each token of the prompt is in exactly one of the three. */
export interface InputUsage {
  readonly input_tokens: number;
  readonly cache_read_input_tokens: number;
  readonly cache_creation_input_tokens: number;
}

/** The invented tokenizer: a token is four bytes, begun ones count. */
export function countTokens(text: string): number {
  return Math.ceil(Buffer.byteLength(text) / 4);
}

/**
 * The prompt cache of this process. As in the API, a request writes a prefix at each of its breakpoints, and reads the
 * longest one that ends at one of them or at most 20 blocks before. Unlike it, no prefix is too short and none expires.
 */
export class PromptCache {
  readonly #written = new Set<string>();

  /** Counts the prompt and remembers its prefixes. */
  account(prompt: Prompt): InputUsage {
    const { breakpoints, tokens } = prompt;
    const last = breakpoints.at(-1) ?? -1;
    const read = Math.max(-1, ...breakpoints.map((at) => this.#longest(prompt, at)));
    for (const at of breakpoints) this.#remember(prompt.hashes.get(at) ?? '');
    const upTo = (at: number): number => tokens[at] ?? 0;
    return {
      input_tokens: upTo(tokens.length - 1) - upTo(last) + FRAME_TOKENS,
      cache_read_input_tokens: upTo(read),
      cache_creation_input_tokens: upTo(last) - upTo(read),
    };
  }

  #longest({ hashes }: Prompt, from: number): number {
    for (let at = from; at > from - LOOKBACK && at >= 0; at -= 1) {
      if (this.#written.has(hashes.get(at) ?? '')) return at;
    }
    return -1;
  }

  #remember(hash: string): void {
    this.#written.delete(hash);
    this.#written.add(hash);
    const oldest = this.#written.values().next().value;
    if (this.#written.size > MOST_PREFIXES && oldest !== undefined) this.#written.delete(oldest);
  }
}

/** A prompt as the cache sees it: tools, system, messages, block by block. */
export interface Prompt {
  /** Tokens up to and with each block. */
  readonly tokens: readonly number[];
  readonly breakpoints: readonly number[];
  /** The hash of the prompt up to and with a block, for the blocks that a breakpoint can look at. */
  readonly hashes: ReadonlyMap<number, string>;
  /** The hash of all of it. */
  readonly hash: string;
}

/** Reads a request as the cache does. */
export function promptOf(request: Request): Prompt {
  const blocks: readonly object[] = [
    ...request.tools,
    ...request.system,
    ...request.messages.flatMap(({ role, content }) => content.map((block) => ({ role, ...block }))),
  ];
  const breakpoints = blocks.flatMap((block, at) => ((block as Marked).cache_control == null ? [] : [at]));
  const hash = createHash('sha256').update(request.model);
  const hashes = new Map<number, string>();
  const tokens: number[] = [];
  for (const [at, block] of blocks.entries()) {
    const { cache_control: _, ...rest } = block as Marked;
    const text = JSON.stringify(rest);
    hash.update(text);
    tokens.push((tokens.at(-1) ?? 0) + countTokens(text));
    if (breakpoints.some((end) => at <= end && at > end - LOOKBACK)) hashes.set(at, hash.copy().digest('hex'));
  }
  return { tokens, breakpoints, hashes, hash: hash.digest('hex') };
}

interface Marked {
  readonly cache_control?: unknown;
}
