import type { ToolCallBlock } from '#domain/conversation.ts';

const ID = /^[a-zA-Z0-9_-]{1,64}$/;
const NOT_IN_A_NAME = /[^a-zA-Z0-9_-]/g;

/**
 * A call's id as every provider takes it: the one its provider gave, where the others accept its form too, else one made
 * of ours. Call and result of one call get the same.
 */
export function wireId({ callId, providerId }: Pick<ToolCallBlock, 'callId' | 'providerId'>): string {
  return ID.test(providerId) ? providerId : `call_${callId.replace(NOT_IN_A_NAME, '_')}`;
}

/** A tool's name as every provider takes it. A model can invent one that no provider takes back. */
export function wireName(tool: string): string {
  return tool.replace(NOT_IN_A_NAME, '_').slice(0, 64) || '_';
}
