import { temporalProvider } from '@temporalio/ai-sdk/workflow';
import { proxyActivities } from '@temporalio/workflow';
import { generateText, isStepCount, tool } from 'ai';
import { z } from 'zod';
import { MAX_TOKENS, MODEL, type NewTask, SYSTEM, TOOL } from './agent.ts';

export interface AgentInput {
  readonly run: string;
  readonly text: string;
  readonly turns: number;
}

export interface AgentActivities {
  createTask(input: { readonly run: string; readonly call: string; readonly task: NewTask }): Promise<string>;
}

const { createTask } = proxyActivities<AgentActivities>({ startToCloseTimeout: '1 minute' });

/** The loop is generateText's own. */
export async function agent({ run, text, turns }: AgentInput): Promise<void> {
  await generateText({
    model: temporalProvider.languageModel(MODEL),
    maxOutputTokens: MAX_TOKENS,
    system: SYSTEM,
    prompt: text,
    tools: {
      [TOOL.name]: tool({
        description: TOOL.description,
        inputSchema: z.object({ project_id: z.string(), title: z.string() }),
        execute: (task, { toolCallId }) => createTask({ run, call: toolCallId, task }),
      }),
    },
    stopWhen: isStepCount(turns + 1),
  });
}
