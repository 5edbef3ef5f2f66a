import type { ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Outcome } from './log.ts';
import { eventText, type Rendered } from './render.ts';
import type { Fault, Pace } from './script.ts';

/** The longest a paced answer takes; what is left then is said at once. */
const LONGEST_ANSWER_MS = 60_000;
/** The longest silence of a `hang`, for clients that never give up. */
const LONGEST_HANG_MS = 300_000;
/** Within a pause a ping is sent this often, as the API does to keep the connection. */
const PING_EVERY_MS = 10_000;

/** How the answer is to be sent. `gone` aborts when the client has closed the connection. */
export interface Delivery {
  readonly pace: Pace;
  readonly fault: Fault | null;
  readonly gone: AbortSignal;
}

/** Sends an answer as one JSON document. A `cut` sends half of it. */
export async function sendWhole(res: ServerResponse, answer: Rendered, delivery: Delivery): Promise<Outcome> {
  const { pace, fault, gone } = delivery;
  if (!(await pause(pace.firstMs ?? 0, gone))) return 'closed';
  if (fault?.kind === 'hang') return hang(res, gone);
  const body = JSON.stringify(answer.message);
  res.writeHead(200, { 'content-type': 'application/json' });
  if (fault?.kind === 'cut') return cut(res, [body.slice(0, body.length / 2)], false);
  res.end(body);
  return 'answered';
}

/** Streams an answer as server-sent events. */
export async function sendStream(res: ServerResponse, answer: Rendered, delivery: Delivery): Promise<Outcome> {
  const { pace, fault, gone } = delivery;
  const breakAt = fault !== null && 'afterPieces' in fault ? (fault.afterPieces ?? null) : null;
  if (fault?.kind === 'hang' && breakAt === null) return hang(res, gone);
  const over = performance.now() + LONGEST_ANSWER_MS;
  const wait = async (ms: number): Promise<boolean> => {
    let left = Math.min(ms, over - performance.now());
    while (left > 0) {
      if (!(await pause(Math.min(left, PING_EVERY_MS), gone))) return false;
      left -= PING_EVERY_MS;
      if (left > 0) await send(res, answer.ping);
    }
    return !gone.aborted;
  };
  res.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-cache' });
  for (const part of answer.head) await send(res, eventText(part));
  await send(res, answer.ping);
  if (!(await wait(pace.firstMs ?? 0))) return 'closed';
  for (const [at, piece] of answer.pieces.entries()) {
    if (fault !== null && at === (breakAt ?? 0)) break;
    if (at > 0 && !(await wait(pace.everyMs ?? 0))) return 'closed';
    await send(res, eventText(piece));
    if (gone.aborted) return 'closed';
  }
  switch (fault?.kind) {
    case 'cut':
      return cut(res, [], fault.clean ?? false);
    case 'hang':
      return hang(res, gone);
    case 'error-event':
      res.end(eventText(answer.failure(fault.type)));
      return 'broken';
    default:
      res.end(answer.tail.map(eventText).join(''));
      return 'answered';
  }
}

/** Resolves when the text has left the process, or the connection is gone. */
function send(res: ServerResponse, text: string): Promise<void> {
  return new Promise((resolve) => {
    if (res.destroyed) resolve();
    else res.write(text, () => resolve());
  });
}

async function cut(res: ServerResponse, last: readonly string[], clean: boolean): Promise<Outcome> {
  for (const text of last) await send(res, text);
  if (clean) res.end();
  else res.destroy();
  return 'broken';
}

async function hang(res: ServerResponse, gone: AbortSignal): Promise<Outcome> {
  if (!(await pause(LONGEST_HANG_MS, gone))) return 'closed';
  res.destroy();
  return 'broken';
}

/** False where the client left meanwhile. */
async function pause(ms: number, gone: AbortSignal): Promise<boolean> {
  if (ms > 0 && !gone.aborted) await sleep(ms, undefined, { signal: gone }).catch(() => undefined);
  return !gone.aborted;
}
