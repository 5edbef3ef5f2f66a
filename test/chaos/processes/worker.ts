import './world.ts';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { decodeJwt } from 'jose';
import { isStewardError, StewardError } from '#domain/errors.ts';
import type { ModelPort } from '#domain/ports/model.ts';
import type { CatalogPort, GuardPort } from '#domain/ports/services.ts';
import { announceReady, runService } from '#platform/config/process.ts';
import { readConfig } from '#platform/config/service.ts';
import { parseActionRecord } from '#platform/identity/action-record.ts';
import { startWorkerService, workerVariables } from '#services/worker/service.ts';
import { EFFECT_TOOLS, SEEN_TWICE } from '../intents.ts';
import { BUNDLE_FILE, FOLDER_VARIABLE, SABOTAGE_VARIABLE } from '../points.ts';
import { Probe } from '../probe.ts';

const probe = new Probe('worker');
const sabotage = process.env[SABOTAGE_VARIABLE];
const mayDieAfter = sabotage === 'receipts' || sabotage === 'resolve' ? SEEN_TWICE : EFFECT_TOOLS;

const runOf = (runGrant: string): string | null => (decodeJwt(runGrant) as { run?: string }).run ?? null;

const model = (inner: ModelPort): ModelPort => ({
  estimateInputTokens: (request) => inner.estimateInputTokens(request),
  complete: (request, onText, signal) =>
    probe.during({ what: 'model', run: request.runId }, async () => {
      const answer = await inner.complete(request, onText, signal);
      probe.dieAt('after-model-answer', `turn ${request.turn}`);
      return answer;
    }),
});

const guard = (inner: GuardPort): GuardPort => ({
  judge: (...args) => probe.during({ what: 'judge', run: runOf(args[0]) }, () => inner.judge(...args)),
  authorize: (...args) => probe.during({ what: 'authorize', run: runOf(args[0]) }, () => inner.authorize(...args)),
  confirmDecision: (...args) =>
    probe.during({ what: 'confirm', run: runOf(args[0]) }, () => inner.confirmDecision(...args)),
});

const catalogs = (inner: CatalogPort): CatalogPort => ({
  execute(catalog, request, signal) {
    const { tool } = parseActionRecord(request.actionRecord);
    return probe.during({ what: `execute ${tool}`, run: runOf(request.runGrant) }, async () => {
      const outcome = await inner.execute(catalog, request, signal);
      if (mayDieAfter.has(tool)) probe.dieAt('after-effect', tool);
      return outcome;
    });
  },
  resolve: (catalog, request, signal) =>
    probe.during({ what: 'resolve', run: runOf(request.runGrant) }, () => inner.resolve(catalog, request, signal)),
});

/** Sabotage: whatever came of a call that was cut off, it is taken for one that did not take place. Nobody asks. */
const neverResolving = (inner: CatalogPort): CatalogPort => ({
  async execute(catalog, request, signal) {
    try {
      return await inner.execute(catalog, request, signal);
    } catch (error) {
      if (!isStewardError(error)) throw error;
      throw new StewardError('TOMBSTONED', `The call did not take place: ${error.message}`);
    }
  },
  resolve: async () => ({ kind: 'tombstone' }),
});

await runService(async () => {
  const rolled = join(process.env[FOLDER_VARIABLE] ?? '', BUNDLE_FILE);
  if (existsSync(rolled)) process.env.STEWARD_WORKFLOW_BUNDLE = readFileSync(rolled, 'utf8');
  const worker = await startWorkerService(readConfig(workerVariables), {
    model,
    guard,
    catalogs: (port) => catalogs(sabotage === 'resolve' ? neverResolving(port) : port),
  });
  announceReady({ address: worker.queue });
  return worker.stop;
});
