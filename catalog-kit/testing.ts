/**
 * For tests of a catalog: signs what run-api and the guard would sign, and calls the catalog as the worker does. Real
 * gRPC, real grants, real records; only the keys are made on the spot.
 */

import { randomUUID } from 'node:crypto';
import { calculateJwkThumbprint, exportJWK, generateKeyPair } from 'jose';
import type { ActionRecord } from '#domain/action-record.ts';
import { keyOf, undoKeyOf } from '#domain/ids.ts';
import type { JsonObject } from '#domain/json.ts';
import { ToolCatalog } from '#gen/steward/catalog/v1/tool_catalog_pb.ts';
import { type Client, connect } from '#platform/grpc/client.ts';
import { canonicalBytes } from '#platform/identity/action-record.ts';
import { digestOf } from '#platform/identity/canonical-json.ts';
import { executionGrantSigner, type RunGrant, runGrantSigner } from '#platform/identity/grants.ts';
import { type PrivateJwk, publicKeySet, toPrivateJwk } from '#platform/identity/key-pair.ts';
import type { Role } from '#platform/identity/principal.ts';
import { mintToken } from '#platform/identity/tokens.ts';
import type { CatalogIdentity } from './serve.ts';

const ISSUER = 'https://issuer.test';
const AUDIENCE = 'steward-test';
const NO_HASH = '0'.repeat(64);

/** A signing key that was never written anywhere. */
export async function newSigningKey(): Promise<PrivateJwk> {
  const jwk = await exportJWK((await generateKeyPair('EdDSA', { extractable: true })).privateKey);
  return toPrivateJwk({ ...jwk, kid: await calculateJwkThumbprint(jwk) });
}

/** What a test run may do; the rest has sensible values. */
export interface TestRun {
  readonly tenant: string;
  readonly user: string;
  readonly permissions?: readonly string[];
  /** Narrowing: `project/apollo`. */
  readonly resources?: readonly string[];
  /** Default: every tool of the catalog. */
  readonly tools?: readonly string[];
  readonly run?: string;
}

/** One prepared call: change what you like before you send it. */
export interface TestCall {
  readonly record: ActionRecord;
  readonly actionRecord: Uint8Array;
  readonly digest: string;
  readonly runGrant: string;
  readonly executionGrants: readonly string[];
}

export type CatalogTester = Awaited<ReturnType<typeof connectTester>>;

/** The three signers a catalog trusts. Hand `identity` to `serveCatalog`. */
export async function testAuthority() {
  const issuer = await newSigningKey();
  const runApi = await newSigningKey();
  const guard = await newSigningKey();
  const identity: CatalogIdentity = {
    issuer: ISSUER,
    audience: AUDIENCE,
    jwks: publicKeySet(issuer),
    runGrantJwks: publicKeySet(runApi),
    executionGrantJwks: publicKeySet(guard),
  };
  const token = (roles: readonly Role[] = ['worker'], ttlSeconds = 3_600, audience = AUDIENCE): Promise<string> => {
    const tenant = roles.every((role) => role === 'worker') ? '' : 'acme';
    return mintToken(issuer, { issuer: ISSUER, audience, tenant, subject: 'worker-1', roles }, ttlSeconds);
  };
  return {
    identity,
    runApi,
    guard,
    token,
    connect: (address: string) => connectTester(address, { runApi, guard, token }),
  };
}

interface Signers {
  readonly runApi: PrivateJwk;
  readonly guard: PrivateJwk;
  token(): Promise<string>;
}

async function connectTester(address: string, signers: Signers) {
  const connection = connect(ToolCatalog, { address, token: await signers.token().then((token) => () => token) });
  const { client } = connection;
  const described = await client.describeTools({});
  const hashes = new Map(described.tools.map((tool) => [tool.name, tool.hash]));
  return {
    client,
    close: () => connection.close(),
    hashes,
    /** A run of the agent's, with a grant of run-api's. */
    async run(own: TestRun) {
      const grant: RunGrant = {
        tenant: own.tenant,
        user: own.user,
        run: own.run ?? `run-${randomUUID()}`,
        agent: 'test',
        agentHash: NO_HASH,
        tools: { [described.catalog]: [...(own.tools ?? hashes.keys())] },
        resources: [...(own.resources ?? [])],
        permissions: [...(own.permissions ?? [])],
      };
      const runGrant = await runGrantSigner(signers.runApi).sign(grant);
      return new RunTester(client, described.catalog, hashes, grant, runGrant, signers.guard);
    },
  };
}

/** One run that calls tools. Each call gets a call id of its own, unless one is given. */
export class RunTester {
  readonly client: Client<typeof ToolCatalog>;
  readonly grant: RunGrant;
  readonly runGrant: string;
  readonly #catalog: string;
  readonly #hashes: ReadonlyMap<string, string>;
  readonly #guard: PrivateJwk;
  #calls = 0;

  constructor(
    client: Client<typeof ToolCatalog>,
    catalog: string,
    hashes: ReadonlyMap<string, string>,
    grant: RunGrant,
    runGrant: string,
    guard: PrivateJwk,
  ) {
    this.client = client;
    this.#catalog = catalog;
    this.#hashes = hashes;
    this.grant = grant;
    this.runGrant = runGrant;
    this.#guard = guard;
  }

  /** A call with its grants, not sent yet. `changed` overrides fields of the record before it is signed for. */
  async prepare(tool: string, args: JsonObject, changed: Partial<ActionRecord> = {}): Promise<TestCall> {
    this.#calls += 1;
    const call = changed.call ?? `1.${this.#calls}`;
    const { tenant, run, user } = this.grant;
    const record: ActionRecord = {
      v: 1,
      kind: 'execute',
      tenant,
      run,
      call,
      user,
      catalog: this.#catalog,
      tool,
      toolHash: this.#hashes.get(tool) ?? NO_HASH,
      args,
      previewHash: null,
      key: keyOf(run, call),
      undoOf: null,
      ...changed,
    };
    const actionRecord = canonicalBytes(record);
    const digest = digestOf(actionRecord);
    return { record, actionRecord, digest, runGrant: this.runGrant, executionGrants: [await this.grantFor(record)] };
  }

  /** A grant of the guard's for a record, as the guard would give it. */
  async grantFor(record: ActionRecord, ttlMs?: number, most?: Readonly<Record<string, number>>): Promise<string> {
    const { tenant, run, call, key, tool, catalog } = record;
    const digest = digestOf(canonicalBytes(record));
    const cap = most === undefined ? {} : { most: { ...most } };
    const claims = { tenant, run, call, key, tool, catalog, digest, attempt: 1, ...cap };
    return (await executionGrantSigner(this.#guard).sign(claims, ttlMs)).token;
  }

  /** The undo of a call of this run. */
  async prepareUndo(done: ActionRecord): Promise<TestCall> {
    const { run, call, tool } = done;
    return await this.prepare(tool, {}, { call, kind: 'undo', key: undoKeyOf(run, call), undoOf: keyOf(run, call) });
  }

  async execute(call: TestCall, deadlineMs?: number) {
    const { actionRecord, runGrant, executionGrants } = call;
    const options = deadlineMs === undefined ? {} : { deadlineMs };
    return await this.client.execute({ actionRecord, runGrant, executionGrants: [...executionGrants] }, options);
  }

  /** Prepares and executes; returns the result. Throws where the domain refuses. */
  async call(tool: string, args: JsonObject): Promise<{ readonly record: ActionRecord; readonly result: JsonObject }> {
    const call = await this.prepare(tool, args);
    const { outcome } = await this.execute(call);
    if (outcome.case !== 'receipt') throw new Error(`${tool} was refused: ${JSON.stringify(outcome.value)}`);
    return { record: call.record, result: JSON.parse(outcome.value.resultJson) as JsonObject };
  }

  /** Prepares and executes; returns the domain's refusal. Throws where it does not refuse. */
  async refusal(tool: string, args: JsonObject): Promise<string> {
    const { outcome } = await this.execute(await this.prepare(tool, args));
    if (outcome.case !== 'refusal') throw new Error(`${tool} was not refused`);
    return outcome.value.code;
  }

  async preview(tool: string, args: JsonObject) {
    const { actionRecord, runGrant } = await this.prepare(tool, args);
    return (await this.client.preview({ actionRecord, runGrant })).change;
  }

  async undo(done: ActionRecord) {
    const { actionRecord, runGrant, executionGrants } = await this.prepareUndo(done);
    return (await this.client.undo({ actionRecord, runGrant, executionGrants: [...executionGrants] })).outcome;
  }

  /** What the catalog knows of a call; settles it unless `lookOnly`. */
  async resolve(call: Pick<TestCall, 'record' | 'digest'>, lookOnly = false) {
    const { key } = call.record;
    return (await this.client.resolve({ key, digest: call.digest, runGrant: this.runGrant, lookOnly })).state;
  }
}
