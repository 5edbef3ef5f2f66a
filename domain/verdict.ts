import type { ErrorCode } from './errors.ts';
import type { ToolDescriptor } from './tools.ts';

/** What the guard says to one proposed call. `why` names the rules that fired, one line each. */
export type Verdict =
  | { readonly kind: 'allow'; readonly why: readonly string[] }
  | { readonly kind: 'deny'; readonly code: ErrorCode; readonly reason: string; readonly why: readonly string[] }
  | { readonly kind: 'ask'; readonly tier: Tier; readonly why: readonly string[] };

/** 0 none; 1 soft; 2 soft with a reason; 3 hard: one person, this exact call; 4 two persons with a delay. */
export type Tier = 0 | 1 | 2 | 3 | 4;

/** Names the rules below: recorded with every verdict. Changes when a rule's meaning changes. */
export const BUILT_IN_RULES = 'built-in/1: destructive and irreversible tools are asked for at tier 3';

/**
 * The first version of the guard's rules: tools that are destructive or irreversible need a person. Policies, further
 * tiers and aggregate limits will stand beside this rule, not inside it.
 */
export function judgeRisk(tool: Pick<ToolDescriptor, 'name' | 'risk'>): Verdict {
  switch (tool.risk) {
    case 'safe':
    case 'cautious':
      return { kind: 'allow', why: [`risk.${tool.risk}: ${tool.name} runs without asking`] };
    case 'destructive':
      return { kind: 'ask', tier: 3, why: [`risk.destructive: ${tool.name} removes or overwrites something of value`] };
    case 'irreversible':
      return { kind: 'ask', tier: 3, why: [`risk.irreversible: ${tool.name} cannot be undone`] };
  }
}

/**
 * Who may answer an approval: people with the approver role, and the acting user where the tenant lets users confirm
 * their own calls. Never the service that started the run.
 */
export function mayDecide(
  person: { readonly subject: string; readonly roles: readonly string[]; readonly onBehalfOf: string | null },
  approval: { readonly actingUser: string },
  usersMayConfirm: boolean,
): boolean {
  if (person.onBehalfOf !== null || person.roles.includes('worker') || person.roles.includes('service')) return false;
  if (person.subject === approval.actingUser) return usersMayConfirm;
  return person.roles.includes('approver');
}
