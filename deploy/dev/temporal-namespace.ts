/**
 * The namespace and search attributes that Steward needs, brought about on any Temporal: one just started, one with
 * old data, one of somebody else's. Idempotent; every call has a deadline.
 */

import { setTimeout as delay } from 'node:timers/promises';
import { Connection } from '@temporalio/client';
import { msToTs } from '@temporalio/common/lib/time.js';
import { StewardError } from '#domain/errors.ts';
import { retentionMs, type SearchAttributeType, type TemporalDev } from './temporal-config.ts';

const CONNECT_MS = 5_000;
const CALL_MS = 10_000;
const USABLE_MS = 30_000;
const POLL_MS = 100;

const NOT_FOUND = 5;
const ALREADY_EXISTS = 6;

const TYPE_NUMBERS: Readonly<Record<SearchAttributeType, number>> = {
  Text: 1,
  Keyword: 2,
  Int: 3,
  Double: 4,
  Bool: 5,
  Datetime: 6,
  KeywordList: 7,
};

/** How to reach a Temporal, from the environment: TEMPORAL_API_KEY implies TLS, TEMPORAL_TLS=true asks for it. */
export async function connectTemporal(
  address: string,
  env: Readonly<Record<string, string | undefined>> = process.env,
): Promise<Connection> {
  const apiKey = env.TEMPORAL_API_KEY;
  const keyed = apiKey !== undefined && apiKey !== '';
  try {
    return await Connection.connect({
      address,
      connectTimeout: CONNECT_MS,
      tls: keyed || env.TEMPORAL_TLS === 'true',
      ...(keyed ? { apiKey } : {}),
    });
  } catch (cause) {
    throw new StewardError('UNAVAILABLE', `No Temporal answers at ${address}: ${(cause as Error).message}.`, { cause });
  }
}

/**
 * Makes sure that the namespace is there and that every search attribute of the description can be used in it. An
 * existing namespace keeps its retention unless `ours`.
 *
 * @throws StewardError WRONG_STATE when an attribute exists with another type; NOT_PERMITTED when they are missing
 *   and may not be made, saying which; DEADLINE when they do not become usable.
 */
export async function ensureNamespace(
  connection: Connection,
  dev: TemporalDev,
  namespace: string,
  ours: boolean,
): Promise<void> {
  await ensureExists(connection, dev, namespace, ours);
  await ensureSearchAttributes(connection, dev, namespace);
  await waitUntilUsable(connection, dev, namespace);
}

/** True when the server answers requests for its namespaces, and not merely listens. */
export async function isServing(connection: Connection, namespace: string): Promise<boolean> {
  return call(connection, () => connection.workflowService.describeNamespace({ namespace })).then(
    () => true,
    (error: { code?: number }) => error.code === NOT_FOUND,
  );
}

async function ensureExists(connection: Connection, dev: TemporalDev, namespace: string, ours: boolean): Promise<void> {
  const { workflowService } = connection;
  const workflowExecutionRetentionPeriod = msToTs(retentionMs(dev));
  try {
    const found = await call(connection, () => workflowService.describeNamespace({ namespace }));
    const kept = Number(found.config?.workflowExecutionRetentionTtl?.seconds ?? 0) * 1000;
    if (!ours || kept === retentionMs(dev)) return;
    const config = { workflowExecutionRetentionTtl: workflowExecutionRetentionPeriod };
    await call(connection, () => workflowService.updateNamespace({ namespace, config }));
  } catch (cause) {
    if ((cause as { code?: number }).code !== NOT_FOUND) throw refused(namespace, 'read', cause);
    await call(connection, () =>
      workflowService.registerNamespace({ namespace, workflowExecutionRetentionPeriod }),
    ).catch((error: { code?: number }) => {
      if (error.code !== ALREADY_EXISTS) throw refused(namespace, 'created', error);
    });
  }
}

async function ensureSearchAttributes(connection: Connection, dev: TemporalDev, namespace: string): Promise<void> {
  const missing = await missingAttributes(connection, dev, namespace);
  if (missing.length === 0) return;
  const searchAttributes = Object.fromEntries(missing.map(([name, type]) => [name, TYPE_NUMBERS[type]]));
  try {
    await call(connection, () => connection.operatorService.addSearchAttributes({ namespace, searchAttributes }));
  } catch (cause) {
    // Another starter may have been faster.
    const still = await missingAttributes(connection, dev, namespace).catch(() => missing);
    if (still.length === 0) return;
    const list = still.map(([name, type]) => `${name} (${type})`).join(', ');
    const message =
      `The Temporal namespace ${namespace} lacks search attributes that may not be created from here ` +
      `(${(cause as Error).message}). Create them: ${list}.`;
    throw new StewardError('NOT_PERMITTED', message, { cause });
  }
}

async function missingAttributes(
  connection: Connection,
  dev: TemporalDev,
  namespace: string,
): Promise<[string, SearchAttributeType][]> {
  // Servers do not know a new namespace at once.
  const { customAttributes } = await within(
    USABLE_MS,
    () => call(connection, () => connection.operatorService.listSearchAttributes({ namespace })),
    (error) => error.code === NOT_FOUND,
  );
  const entries = Object.entries(dev.searchAttributes);
  for (const [name, type] of entries) {
    const found = customAttributes[name];
    if (found === undefined || found === TYPE_NUMBERS[type]) continue;
    const has = Object.entries(TYPE_NUMBERS).find(([, number]) => number === found)?.[0] ?? found;
    const message = `In the Temporal namespace ${namespace} the search attribute ${name} is ${has}, not ${type}.`;
    throw new StewardError('WRONG_STATE', `${message} Use another namespace (TEMPORAL_NAMESPACE).`);
  }
  return entries.filter(([name]) => customAttributes[name] === undefined);
}

/** Servers cache both namespaces and attributes for a while; a query that names them all shows that they are known. */
async function waitUntilUsable(connection: Connection, dev: TemporalDev, namespace: string): Promise<void> {
  const query = Object.keys(dev.searchAttributes)
    .map((name) => `${name} IS NOT NULL`)
    .join(' OR ');
  const count = () => connection.workflowService.countWorkflowExecutions({ namespace, query });
  try {
    await within(
      USABLE_MS,
      () => call(connection, count),
      () => true,
    );
  } catch (cause) {
    const message = `The search attributes in the Temporal namespace ${namespace} did not become usable`;
    throw new StewardError('DEADLINE', `${message} within ${USABLE_MS / 1000} s.`, { cause });
  }
}

/** Repeats work that fails in an expected way, until the time is over. */
async function within<T>(
  waitMs: number,
  work: () => Promise<T>,
  expected: (error: { code?: number }) => boolean,
): Promise<T> {
  const deadline = Date.now() + waitMs;
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (Date.now() >= deadline || !expected(error as { code?: number })) throw error;
      await delay(POLL_MS);
    }
  }
}

function call<T>(connection: Connection, work: () => Promise<T>): Promise<T> {
  return connection.withDeadline(Date.now() + CALL_MS, work);
}

function refused(namespace: string, what: string, cause: unknown): StewardError {
  const message = `The Temporal namespace ${namespace} could not be ${what}: ${(cause as Error).message}.`;
  return new StewardError('NOT_PERMITTED', `${message} Create it, or name another in TEMPORAL_NAMESPACE.`, { cause });
}
