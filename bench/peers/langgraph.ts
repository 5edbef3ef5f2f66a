import { ChatAnthropic } from '@langchain/anthropic';
import { HumanMessage, SystemMessage } from '@langchain/core/messages';
import { tool } from '@langchain/core/tools';
import { MessagesAnnotation, StateGraph } from '@langchain/langgraph';
import { ToolNode, toolsCondition } from '@langchain/langgraph/prebuilt';
import { PostgresSaver } from '@langchain/langgraph-checkpoint-postgres';
import { z } from 'zod';
import { MAX_TOKENS, MODEL, type NewTask, SYSTEM, TOOL } from './agent.ts';
import { servePeer } from './peer.ts';
import { setting, taskTable } from './task.ts';

interface ToolRuntime {
  readonly toolCall?: { readonly id?: string };
  readonly configurable?: { readonly thread_id?: string };
}

/** LangGraph's own agent graph, model node and tool node, with the Postgres saver and `durability: 'sync'`. */
await servePeer(async () => {
  const tasks = taskTable();
  const createTask = tool(
    async (task: NewTask, runtime: ToolRuntime) => {
      const [run, call] = [runtime.configurable?.thread_id, runtime.toolCall?.id];
      if (!run || !call) throw new Error('The tool was called without a thread or a call.');
      return tasks.create(run, call, task);
    },
    { ...TOOL, schema: z.object({ project_id: z.string(), title: z.string() }) },
  );
  const model = new ChatAnthropic({
    model: MODEL,
    maxTokens: MAX_TOKENS,
    apiKey: 'any',
    anthropicApiUrl: setting('ANTHROPIC_BASE_URL'),
  }).bindTools([createTask]);
  const saver = PostgresSaver.fromConnString(setting('DATABASE_URL'));
  await saver.setup();
  const graph = new StateGraph(MessagesAnnotation)
    .addNode('agent', async ({ messages }) => ({
      messages: [await model.invoke([new SystemMessage(SYSTEM), ...messages])],
    }))
    .addNode('tools', new ToolNode([createTask], { handleToolErrors: false }))
    .addEdge('__start__', 'agent')
    .addConditionalEdges('agent', toolsCondition)
    .addEdge('tools', 'agent')
    .compile({ checkpointer: saver });
  return {
    async play({ run, text, turns }) {
      await graph.invoke(
        { messages: [new HumanMessage(text)] },
        // Two steps a turn, and the last word.
        { configurable: { thread_id: run }, durability: 'sync', recursionLimit: 2 * turns + 10 },
      );
    },
    async stop() {
      await saver.end();
      await tasks.end();
    },
  };
});
