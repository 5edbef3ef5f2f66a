import type { ToolResultBlock } from '#domain/conversation.ts';

/** A call that did not take place, as the model is told: JSON text it can act on. */
export function refusalAnswer(
  call: { readonly callId: string; readonly providerId: string },
  error: { readonly code: string; readonly message: string; readonly details?: Readonly<Record<string, unknown>> },
): ToolResultBlock {
  const { code, message, details } = error;
  return {
    type: 'tool_result',
    callId: call.callId,
    providerId: call.providerId,
    text: JSON.stringify({ error: { code, message, ...details } }),
    isError: true,
  };
}
