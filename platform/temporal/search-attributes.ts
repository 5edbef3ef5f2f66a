import { defineSearchAttributeKey } from '@temporalio/common';

/** What lists of runs in Temporal's Web UI are filtered by. Names and types as temporal-dev.yml registers them. */
export const SEARCH_ATTRIBUTES = {
  tenant: defineSearchAttributeKey('Tenant', 'KEYWORD'),
  agentName: defineSearchAttributeKey('AgentName', 'KEYWORD'),
  /** The first 12 digits of the agent's hash. */
  agentVersion: defineSearchAttributeKey('AgentVersion', 'KEYWORD'),
  runStatus: defineSearchAttributeKey('RunStatus', 'KEYWORD'),
  riskTier: defineSearchAttributeKey('RiskTier', 'KEYWORD'),
  stopReason: defineSearchAttributeKey('StopReason', 'KEYWORD'),
  /** Who asked for the run. */
  initiator: defineSearchAttributeKey('Initiator', 'KEYWORD'),
  toolsUsed: defineSearchAttributeKey('ToolsUsed', 'KEYWORD_LIST'),
  costMicroUsd: defineSearchAttributeKey('CostMicroUsd', 'INT'),
  stepCount: defineSearchAttributeKey('StepCount', 'INT'),
  /** Since when the run waits for a person or for budget. */
  awaitingSince: defineSearchAttributeKey('AwaitingSince', 'DATETIME'),
} as const;
