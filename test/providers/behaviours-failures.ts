import assert from 'node:assert/strict';
import { once } from 'node:events';
import { freePort } from '#deploy/dev/ports.ts';
import type { Usage } from '#domain/conversation.ts';
import { isRetryable, type StewardError } from '#domain/errors.ts';
import type { Behaviour } from './behaviours.ts';
import { ask, type ContractBench, failureOf, textIn } from './bench.ts';

const SHORT = { idleTimeoutMs: 500, responseTimeoutMs: 500 };
const TEN_MINUTES_MS = 600_000;

function is(error: StewardError, code: string, retryable: boolean): void {
  assert.equal(error.code, code);
  assert.equal(isRetryable(error.code), retryable);
}

/** That a failure tells what was counted, so that it is paid for; or where nothing was, that nobody knows. */
function counted(error: StewardError): Usage {
  const usage = error.details.usage as Usage | undefined;
  assert.ok(usage !== undefined && Number.isSafeInteger(usage.output) && error.details.unobserved === undefined);
  return usage;
}

/** A fault of the offline model: told by name once, and gone with the next try. */
async function fails(bench: ContractBench, script: string, params: object, code: string): Promise<StewardError> {
  const of = bench.request(script, params);
  const port = bench.port(script === 'hang' ? SHORT : {});
  const error = await failureOf(ask(port, of));
  is(error, code, true);
  assert.equal(textIn(await ask(bench.port(), of)), 'Here I am.');
  assert.equal(bench.seen(of).length, 2);
  return error;
}

async function bad(bench: ContractBench, ...parts: readonly string[]): Promise<StewardError> {
  const error = await failureOf(ask(bench.streaming(parts, { maxAnswerBytes: 10_000 }), bench.request('echo')));
  is(error, 'MODEL_BAD_ANSWER', true);
  return error;
}

/** How a model fails, and what is known of the cost. */
export const failureBehaviours: readonly Behaviour[] = [
  {
    name: 'an answer with nothing in it is paid for and tried again',
    async check(bench) {
      counted(await fails(bench, 'empty', {}, 'MODEL_BAD_ANSWER'));
      const { begin, text, end } = bench.raw;
      assert.equal(counted(await bad(bench, begin(), text(0, ' \n'), end('said'))).output, 9);
    },
  },
  {
    name: 'two tool calls of one id are no answer',
    async check(bench) {
      const { begin, call, end } = bench.raw;
      counted(await bad(bench, begin(), call(0, 'call_1', '{}'), call(1, 'call_1', '{}'), end('calls')));
    },
  },
  {
    name: 'a connection that dies within the answer is counted from above',
    async check(bench) {
      const of = bench.request('cut-stream', { text: 'A long answer, of which not all arrives. '.repeat(30) });
      const cut = counted(await failureOf(ask(bench.port(), { ...of, maxOutputTokens: 3_000 })));
      const { usage } = await ask(bench.port(), of);
      assert.ok(cut.input + cut.cacheRead + cut.cacheWrite >= usage.input + usage.cacheRead + usage.cacheWrite);
      assert.ok(cut.output >= 1 && cut.output < 3_000);
      counted(await fails(bench, 'cut-stream', {}, 'MODEL_CUT_OFF'));
    },
  },
  {
    name: 'a stream that ends politely before the answer does is cut off, too',
    async check(bench) {
      counted(await fails(bench, 'cut-stream', { clean: true, afterPieces: 4 }, 'MODEL_CUT_OFF'));
    },
  },
  {
    name: 'events that are no JSON, of the wrong shape or out of nowhere are no answer',
    async check(bench) {
      const { begin, misshapen, orphan } = bench.raw;
      counted(await bad(bench, begin(), 'event: x\ndata: {oops\n\n'));
      counted(await bad(bench, begin(), misshapen()));
      counted(await bad(bench, begin(), orphan()));
    },
  },
  {
    name: 'an answer that is no stream, or is without end, is no answer',
    async check(bench) {
      const page = bench.told((res) => res.writeHead(200, { 'content-type': 'text/html' }).end('<h1>Welcome</h1>'));
      const error = await failureOf(ask(page, bench.request('echo')));
      is(error, 'MODEL_BAD_ANSWER', true);
      assert.equal(error.details.unobserved, true);
      await bad(bench, bench.raw.begin(), bench.raw.text(0, 'x'.repeat(20_000)));
    },
  },
  {
    name: 'a rate limit says for how many seconds, and an hour is the most that is believed',
    async check(bench) {
      const soon = await fails(bench, 'rate-limited', { retryAfter: '2.5' }, 'MODEL_RATE_LIMITED');
      assert.equal(soon.details.retryAfterMs, 2_500);
      assert.equal(soon.details.usage ?? soon.details.unobserved, undefined);
      const never = await fails(bench, 'rate-limited', { retryAfter: 99_999_999 }, 'MODEL_RATE_LIMITED');
      assert.equal(never.details.retryAfterMs, 3_600_000);
    },
  },
  {
    name: 'a rate limit says until which date, and a date gone by is now',
    async check(bench) {
      const retryAfter = new Date(Date.now() + TEN_MINUTES_MS).toUTCString();
      const late = await fails(bench, 'rate-limited', { retryAfter }, 'MODEL_RATE_LIMITED');
      const after = late.details.retryAfterMs as number;
      assert.ok(after > TEN_MINUTES_MS - 60_000 && after <= TEN_MINUTES_MS);
      const past = { retryAfter: 'Wed, 21 Oct 2015 07:28:00 GMT' };
      assert.equal((await fails(bench, 'rate-limited', past, 'MODEL_RATE_LIMITED')).details.retryAfterMs, 0);
    },
  },
  {
    name: 'statuses 408, 500, 503 and 529 are told once and cost nothing; the SDK tries nothing again',
    async check(bench) {
      for (const status of [408, 500, 503]) {
        const error = await fails(bench, 'http-error', { status, retryAfter: '3' }, 'MODEL_UNAVAILABLE');
        assert.deepEqual([error.details.status, error.details.retryAfterMs], [status, 3_000]);
        assert.equal(error.details.usage ?? error.details.unobserved, undefined);
      }
      await fails(bench, 'overloaded', {}, 'MODEL_OVERLOADED');
    },
  },
  {
    name: 'a refused key and an account without money are final',
    async check(bench) {
      for (const status of [401, 402, 403]) {
        is(await failureOf(ask(bench.port(), bench.request('http-error', { status }))), 'MODEL_AUTH', false);
      }
      const { status, body } = bench.raw.unpaid();
      const port = bench.told((res) => {
        res.writeHead(status, { 'content-type': 'application/json', 'retry-after': '1' }).end(JSON.stringify(body));
      });
      const unpaid = await failureOf(ask(port, bench.request('echo')));
      is(unpaid, 'MODEL_AUTH', false);
      assert.match(unpaid.message, /payment/);
      assert.equal(bench.requestsTold(), 1);
    },
  },
  {
    name: 'a request that is wrong, too long or for an unknown model is final and says why',
    async check(bench) {
      for (const status of [400, 404, 413, 422]) {
        const of = bench.request('http-error', { status, message: 'prompt is too long: 1000001 tokens' });
        const error = await failureOf(ask(bench.port(), of));
        is(error, 'MODEL_REQUEST_REFUSED', false);
        assert.match(error.message, /prompt is too long: 1000001 tokens/);
        assert.match(String(error.details.requestId), /^req_/);
      }
    },
  },
  {
    name: 'an error within the stream is told by its type',
    async check(bench) {
      const types = { rate_limit_error: 'MODEL_RATE_LIMITED', overloaded_error: 'MODEL_OVERLOADED' };
      for (const [type, code] of [...Object.entries(types), ['something_new', 'MODEL_UNAVAILABLE'] as const]) {
        counted(await fails(bench, 'error-event', { type }, code));
      }
    },
  },
  {
    name: 'silence before the answer is charged whole, silence within it as counted',
    async check(bench) {
      const before = await fails(bench, 'hang', {}, 'MODEL_UNAVAILABLE');
      assert.equal(before.details.unobserved, true);
      counted(await fails(bench, 'hang', { afterPieces: 4 }, 'MODEL_CUT_OFF'));
    },
  },
  {
    name: 'signs of life keep a silent stream, but not beyond the deadline',
    async check(bench) {
      const slowly = (signs: number) =>
        bench.told(
          (res) => {
            res.writeHead(200, { 'content-type': 'text/event-stream' }).write(bench.raw.begin());
            let said = 0;
            const timer = setInterval(() => {
              said += 1;
              if (said <= signs) res.write(': still here\n\n');
              else res.end(bench.raw.text(0, 'Hi') + bench.raw.end('said'));
            }, 40);
            res.once('close', () => clearInterval(timer));
          },
          { idleTimeoutMs: 1_000, requestTimeoutMs: signs > 100 ? 1_500 : TEN_MINUTES_MS },
        );
      assert.equal(textIn(await ask(slowly(35), bench.request('echo'))), 'Hi');
      const late = await failureOf(ask(slowly(1_000), bench.request('echo')));
      is(late, 'MODEL_CUT_OFF', true);
      assert.match(late.message, /did not finish in time/);
    },
  },
  {
    name: 'cancelling closes the connection at once and tells what was counted',
    async check(bench) {
      const of = bench.request('slow-stream', { everyMs: 20 });
      const abort = new AbortController();
      const error = await failureOf(bench.port().complete(of, () => abort.abort(), abort.signal));
      is(error, 'CANCELLED', false);
      counted(error);
      assert.equal((await bench.seen(of)[0]?.ended)?.outcome, 'closed');
      let closed: Promise<unknown> | undefined;
      const early = new AbortController();
      const silent = bench.told((res) => {
        closed = once(res, 'close');
        early.abort();
      });
      const unheard = await failureOf(silent.complete(of, () => {}, early.signal));
      assert.deepEqual([unheard.code, unheard.details.unobserved], ['CANCELLED', true]);
      await closed;
    },
  },
  {
    name: 'without a key, after a cancel and to nobody nothing is sent, and nothing is charged',
    async check(bench) {
      assert.throws(() => bench.port({ apiKey: ' ' }), /Set (ANTHROPIC|OPENAI)_API_KEY/);
      const of = bench.request('echo');
      const late = await failureOf(bench.port().complete(of, () => {}, AbortSignal.abort()));
      is(late, 'CANCELLED', false);
      assert.equal(bench.seen(of).length, 0);
      const nobody = await failureOf(ask(bench.port({ baseUrl: `http://127.0.0.1:${await freePort()}` }), of));
      is(nobody, 'MODEL_UNAVAILABLE', true);
      assert.equal(nobody.details.usage ?? nobody.details.unobserved, undefined);
    },
  },
];
