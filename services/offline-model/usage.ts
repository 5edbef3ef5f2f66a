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
  account(request: Request): InputUsage {
    const prefixes = prefixesOf(request);
    const breakpoints = prefixes.flatMap((prefix, at) => (prefix.breakpoint ? [at] : []));
    const last = breakpoints.at(-1) ?? -1;
    const read = Math.max(-1, ...breakpoints.map((at) => this.#longest(prefixes, at)));
    for (const at of breakpoints) this.#remember(prefixes[at]?.hash ?? '');
    const upTo = (at: number): number => prefixes[at]?.tokens ?? 0;
    return {
      input_tokens: upTo(prefixes.length - 1) - upTo(last) + FRAME_TOKENS,
      cache_read_input_tokens: upTo(read),
      cache_creation_input_tokens: upTo(last) - upTo(read),
    };
  }

  #longest(prefixes: readonly Prefix[], from: number): number {
    for (let at = from; at > from - LOOKBACK && at >= 0; at -= 1) {
      if (this.#written.has(prefixes[at]?.hash ?? '')) return at;
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

interface Prefix {
  readonly hash: string;
  readonly tokens: number;
  readonly breakpoint: boolean;
}

/** The prompt in the order the cache sees it: tools, system, messages; each block with the prefix that ends with it. */
function prefixesOf(request: Request): readonly Prefix[] {
  let hash = createHash('sha256').update(request.model).digest('hex');
  let tokens = 0;
  const blocks = [
    ...request.tools,
    ...request.system,
    ...request.messages.flatMap(({ role, content }) => content.map((block) => ({ role, ...block }))),
  ];
  return blocks.map((block) => {
    const { cache_control, ...rest } = block as { cache_control?: unknown };
    const text = JSON.stringify(rest);
    hash = createHash('sha256').update(hash).update(text).digest('hex');
    tokens += countTokens(text);
    return { hash, tokens, breakpoint: cache_control != null };
  });
}
