import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import canonicalize from 'canonicalize';
import type { Request, RequestBlock } from './wire.ts';

/** No secret: it makes a changed thinking block noticed, and is fixed so that a restarted server knows its own. */
const KEY = createHash('sha256').update('offline-model: thinking').digest();

/** What an answer is made of decides its ids and signatures, so that a repeated request gets the same answer. */
export function digest(...parts: readonly unknown[]): string {
  return createHash('sha256').update(canonical(parts)).digest('hex');
}

/**
 * The hash of what stands before a message: system prompt, tools, earlier messages. Thinking is bound to it, as on the
 * current Claude models. Cache marks and thinking itself do not count.
 */
export class Prefixes {
  readonly #request: Request;
  readonly #hashes: string[];

  constructor(request: Request) {
    this.#request = request;
    this.#hashes = [digest(request.model, request.system.map(bare), request.tools.map(bare))];
  }

  /** Before the message of that index; before the answer, if that is one past the last. */
  before(index: number): string {
    for (const { role, content } of this.#request.messages.slice(this.#hashes.length - 1, index)) {
      const said = content.filter((block) => !isThinking(block)).map(bare);
      this.#hashes.push(digest(this.#hashes.at(-1), role, said));
    }
    return this.#hashes[index] ?? '';
  }
}

/** The signature of thinking that stands behind `prefix`. */
export function sign(prefix: string, thinking: string): string {
  return createHmac('sha256', KEY).update(`${prefix}\n${thinking}`).digest('base64');
}

/** The data of a redacted block: opaque to everyone but this server. */
export function seal(prefix: string, thinking: string): string {
  return `${Buffer.from(thinking).toString('base64url')}.${sign(prefix, thinking)}`;
}

/** Whether the block is one this server issued, unchanged, behind this very prefix. */
export function isGenuine(
  prefix: string,
  block: Extract<RequestBlock, { type: 'thinking' | 'redacted_thinking' }>,
): boolean {
  if (block.type === 'thinking') return same(block.signature, sign(prefix, block.thinking));
  const thinking = Buffer.from(block.data.split('.')[0] ?? '', 'base64url').toString();
  return same(block.data, seal(prefix, thinking));
}

/**
 * The id of a tool call. It tells whether its turn began with thinking, behind which prefix, which must then come back
 * with it.
 */
export function toolUseId(key: string, index: number, thoughtBehind: string | null): string {
  const id = digest(key, 'call', index);
  return thoughtBehind === null ? `toolu_n${id.slice(0, 22)}` : `toolu_t${thoughtBehind.slice(0, 8)}${id.slice(0, 14)}`;
}

/**
 * Whether a call of this id was issued after thinking behind this very prefix. Behind another one, of a conversation
 * that was shortened meanwhile, the thinking could not be genuine: the model then does without.
 */
export function cameAfterThinking(toolUseIdOf: string, prefix: string): boolean {
  return new RegExp(`^toolu_t${prefix.slice(0, 8)}[0-9a-f]{14}$`).test(toolUseIdOf);
}

export function isThinking(
  block: RequestBlock,
): block is Extract<RequestBlock, { type: 'thinking' | 'redacted_thinking' }> {
  return block.type === 'thinking' || block.type === 'redacted_thinking';
}

function bare(block: object): object {
  const { cache_control: _, ...rest } = block as { cache_control?: unknown };
  return rest;
}

function canonical(value: unknown): string {
  return canonicalize(value) ?? '';
}

function same(a: string, b: string): boolean {
  const [x, y] = [Buffer.from(a), Buffer.from(b)];
  return x.length === y.length && timingSafeEqual(x, y);
}
