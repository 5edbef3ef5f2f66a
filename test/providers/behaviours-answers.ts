import assert from 'node:assert/strict';
import type { AssistantBlock, Usage } from '#domain/conversation.ts';
import type { ModelRequest } from '#domain/ports/model.ts';
import type { Behaviour } from './behaviours.ts';
import { ask, type ContractBench, callsIn, next, textIn } from './bench.ts';

const prompt = (usage: Usage): number => usage.input + usage.cacheRead + usage.cacheWrite;

/** The last request of a run as it stood on the wire. */
function wireText(bench: ContractBench, request: ModelRequest): string {
  return JSON.stringify(bench.seen(request).at(-1)?.body);
}

/** What a model says, and how it gets it back. */
export const answerBehaviours: readonly Behaviour[] = [
  {
    name: 'text is streamed in order and is the text of the answer',
    async check(bench) {
      const deltas: string[] = [];
      const of = bench.request('echo');
      const answer = await bench.port().complete(of, (delta) => deltas.push(delta), new AbortController().signal);
      assert.equal(answer.stop, 'end_turn');
      assert.match(textIn(answer), /^You said: script: echo/);
      assert.ok(deltas.length > 1);
      assert.equal(deltas.join(''), textIn(answer));
    },
  },
  {
    name: "an answer comes with its usage, the model that gave it and the provider's request id",
    async check(bench) {
      const answer = await ask(bench.port(), bench.request('echo'));
      assert.equal(answer.model, bench.model);
      assert.match(answer.requestId ?? '', /^req_/);
      assert.ok(prompt(answer.usage) > 0 && answer.usage.output > 0);
    },
  },
  {
    name: 'parallel tool calls keep their order and their arguments, under ids of ours',
    async check(bench) {
      const calls = callsIn(await ask(bench.port(), bench.request('many-calls', { vary: 'page' }, { turn: 7 })));
      const twelve = Array.from({ length: 12 }, (_, index) => index);
      assert.deepEqual(
        calls.map((call) => call.callId),
        twelve.map((index) => `7.${index}`),
      );
      assert.deepEqual(
        calls.map((call) => call.args),
        twelve.map((index) => ({ page: index + 1 })),
      );
      assert.equal(new Set(calls.map((call) => call.providerId)).size, 12);
    },
  },
  {
    name: 'results go back to their calls, and failed ones say that they failed',
    async check(bench) {
      const of = bench.request('many-calls');
      const answer = await ask(bench.port(), of);
      assert.match(textIn(await ask(bench.port(), next(of, answer))), /\b0\b/);
      const failed = next(of, answer, true);
      assert.match(textIn(await ask(bench.port(), failed)), /\b12\b/);
      for (const { providerId } of callsIn(answer)) assert.ok(wireText(bench, failed).includes(providerId));
    },
  },
  {
    name: 'thinking is kept as it came and goes back with the calls it led to',
    async check(bench) {
      const of = bench.request('plan', { thinking: 'Hm — “what” now? 🤔', turns: [[{ tool: 'list_projects' }]] });
      const answer = await ask(bench.port(), of);
      const [thinking] = answer.content;
      assert.ok(thinking?.type === 'thinking' && thinking.provider === bench.provider);
      const second = next(of, answer);
      assert.equal(textIn(await ask(bench.port(), second)), 'Done.');
      assert.ok(wireText(bench, second).includes(JSON.stringify(thinking.data)));
    },
  },
  {
    name: 'thinking of another provider is dropped, and its text, calls and results stay',
    async check(bench) {
      const of = bench.request('plan', { turns: [[{ tool: 'list_projects' }], [{ tool: 'look' }]] });
      const content: AssistantBlock[] = [
        { type: 'thinking', provider: 'another', data: { type: 'thinking', secret: 'sealed elsewhere' } },
        { type: 'text', text: 'I look.', phase: 'commentary' },
        { type: 'tool_call', callId: '0.0', providerId: 'functions.look:0', tool: 'look', args: { page: 3 } },
      ];
      const answer = await ask(bench.port(), of);
      const second = next(of, { ...answer, content });
      assert.equal(callsIn(await ask(bench.port(), second))[0]?.tool, 'look');
      const wire = wireText(bench, second);
      assert.ok(!wire.includes('sealed elsewhere') && !wire.includes('functions.look:0'));
      assert.ok(wire.includes('I look.') && wire.includes('call_0_0') && wire.includes('page'));
    },
  },
  {
    name: 'what the turn before has written is read from the cache, and the counts add up to the prompt',
    async check(bench) {
      const twelve = Array.from({ length: 12 }, (_, page) => ({ tool: 'look', args: { page } }));
      const first = bench.request('plan', { turns: [[{ tool: 'list_projects' }], twelve] });
      const one = await ask(bench.port(), first);
      const second = next(first, one);
      const two = await ask(bench.port(), second);
      const three = await ask(bench.port(), next(second, two));
      assert.ok(one.usage.cacheWrite > one.usage.cacheRead);
      assert.equal(two.usage.cacheRead, one.usage.cacheRead + one.usage.cacheWrite);
      assert.equal(three.usage.cacheRead, two.usage.cacheRead + two.usage.cacheWrite);
      assert.ok(three.usage.input < three.usage.cacheRead);
    },
  },
  {
    name: 'reasoning is counted apart, within the output',
    async check(bench) {
      const { usage } = await ask(bench.port(), bench.request('echo', { thinking: 'Hm. '.repeat(30) }));
      assert.ok(usage.reasoning >= 30 && usage.reasoning < usage.output);
      assert.equal((await ask(bench.port(), bench.request('echo'))).usage.reasoning, 0);
    },
  },
  {
    name: 'the estimate of a prompt covers what every turn is billed',
    async check(bench) {
      let of = bench.request('long-loop', { turns: 6, vary: 'page', args: { note: 'Ünïcödé 完成 {"a":[1]}' } });
      for (;;) {
        const answer = await ask(bench.port(), of);
        assert.ok(bench.port().estimateInputTokens(of) >= prompt(answer.usage));
        if (answer.stop === 'end_turn') break;
        of = next(of, answer);
      }
      assert.equal(of.turn, 6);
    },
  },
  {
    name: 'arguments that are no JSON object, or nested beyond use, are kept as text and are no arguments',
    async check(bench) {
      for (const raw of ['{"project_id": "p-1", "sta', '[1, 2]', 'null']) {
        const of = bench.request('malformed-json', { raw });
        const answer = await ask(bench.port(), of);
        const [call] = callsIn(answer);
        assert.deepEqual([answer.stop, call?.args, call?.malformed], ['tool_use', null, raw]);
        assert.match(textIn(await ask(bench.port(), next(of, answer, true))), /^The result was/);
      }
      const deep = `{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}`;
      const port = bench.streaming([bench.raw.begin(), bench.raw.call(0, 'call_1', deep), bench.raw.end('calls')]);
      const answer = await ask(port, bench.request('echo'));
      assert.equal(callsIn(answer)[0]?.args, null);
      assert.ok(JSON.stringify(answer.content).length < 3_000);
    },
  },
  {
    name: 'an answer that is cut at its cap says so',
    async check(bench) {
      const answer = await ask(bench.port(), bench.request('slow-stream', { everyMs: 0 }, { maxOutputTokens: 30 }));
      assert.deepEqual([answer.stop, answer.usage.output], ['length', 30]);
      assert.equal(answer.content.at(-1)?.type, 'text');
    },
  },
  {
    name: 'an end of a kind nobody knows is an end, not a failure',
    async check(bench) {
      const port = bench.streaming([bench.raw.begin(), bench.raw.text(0, 'Hi'), bench.raw.end('novel')]);
      const answer = await ask(port, bench.request('echo'));
      assert.equal(textIn(answer), 'Hi');
      assert.ok(['end_turn', 'length'].includes(answer.stop));
    },
  },
  {
    name: 'a refusal is an answer of which nothing can run',
    async check(bench) {
      assert.deepEqual((await ask(bench.port(), bench.request('refusal'))).content, []);
      const { begin, text, call, end } = bench.raw;
      const port = bench.streaming([begin(), text(0, 'Hm'), call(1, 'call_1', '{}'), end('refusal')]);
      const answer = await ask(port, bench.request('echo'));
      assert.deepEqual([answer.stop, answer.content], ['refusal', [{ type: 'text', text: 'Hm' }]]);
      assert.deepEqual([answer.usage.input, answer.usage.output], [7, 9]);
    },
  },
  {
    name: 'what the format may gain is passed over',
    async check(bench) {
      const { begin, novelty, text, end } = bench.raw;
      const port = bench.streaming([': a comment\n\n', begin(), novelty(), text(1, 'Hi'), novelty(), end('said')]);
      assert.deepEqual((await ask(port, bench.request('echo'))).content, [{ type: 'text', text: 'Hi' }]);
    },
  },
];
