import { badAnswer } from './answer-parts.ts';
import type { Watch } from './watch.ts';

/** A connection that has said all may be used again if it ends within this, in milliseconds; else it is closed. */
export const FAREWELL_MS = 250;
/** The most that one answer's stream may carry, in bytes, unless said otherwise. */
export const MOST_ANSWER_BYTES = 16 * 1024 * 1024;

/**
 * The same response, with every byte seen: comment lines and pings are signs of life that never become events. Throws
 * MODEL_BAD_ANSWER where it is no stream of events, and within the stream where that grows beyond `maxBytes`.
 */
export function tapped(response: Response, watch: Watch, maxBytes: number): Response {
  const type = response.headers.get('content-type') ?? 'nothing';
  if (!type.startsWith('text/event-stream')) throw badAnswer(`"${type}" where a stream of events was asked for`);
  let bytes = 0;
  const tap = new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) {
      watch.sign();
      bytes += chunk.byteLength;
      if (bytes > maxBytes) throw badAnswer(`more than ${maxBytes} bytes`);
      controller.enqueue(chunk);
    },
  });
  return new Response(response.body?.pipeThrough(tap) ?? null);
}
