import type { JsonValue } from '#domain/json.ts';
import { canonicalJson, digestOf } from './canonical-json.ts';

/**
 * First 16 hex digits of SHA-256 over a proposed call: equal for the same tool with the same arguments, whatever their
 * order. `text` is what the model sent, JSON or not; it counts as it stands where it has no canonical form. Never throws.
 */
export function callSignature(tool: string, text: string): string {
  let spelled: string;
  try {
    spelled = canonicalJson({ tool, args: JSON.parse(text) as JsonValue });
  } catch {
    spelled = `${tool}\n${text}`;
  }
  return digestOf(spelled).slice(0, 16);
}
