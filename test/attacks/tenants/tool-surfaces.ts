import { randomUUID } from 'node:crypto';
import type { DescMethod } from '@bufbuild/protobuf';
import { RunTester } from '#catalog-kit/testing.ts';
import { CATALOGS, catalogAudience, DEV_ISSUER } from '#deploy/dev/secrets.ts';
import type { JsonObject } from '#domain/json.ts';
import { ToolCatalog, type ToolDescriptor } from '#gen/steward/catalog/v1/tool_catalog_pb.ts';
import { connect } from '#platform/grpc/client.ts';
import { type RunGrant, runGrantSigner } from '#platform/identity/grants.ts';
import { mintToken } from '#platform/identity/tokens.ts';
import type { TestStack } from '#test/support/stack.ts';
import { requestOf } from './requests.ts';
import type { Report } from './suite.ts';
import { RIVAL, type Victim } from './victim.ts';
import type { Wire } from './wire.ts';

const [preview, execute, resolve, undo] = ['preview', 'execute', 'resolve', 'undo'].map(
  (name) => ToolCatalog.methods.find((method) => method.localName === name) as DescMethod,
) as [DescMethod, DescMethod, DescMethod, DescMethod];

/**
 * Tries every tool of every catalog on the victim's records. The caller has a worker's token and execution grants of the
 * guard's own key: what keeps it out are the catalog and its database alone.
 */
export async function attackTools(test: TestStack, victim: Victim, wire: Wire, report: Report): Promise<void> {
  const pending = await recordIds(test, victim.tenant, 'pending');
  const delivered = await recordIds(test, victim.tenant, 'delivered');
  // Nobody else has customers of these names.
  const marks = [victim.runMark, String(pending.user_id), String(delivered.user_id)];
  for (const catalog of CATALOGS) {
    const address = test.stack.addresses[catalog];
    const claims = { issuer: DEV_ISSUER, audience: catalogAudience(catalog), tenant: '', subject: 'steward' };
    const token = await mintToken(test.stack.secrets.tokens.privateJwk, { ...claims, roles: ['worker'] }, 3_600);
    const connection = connect(ToolCatalog, { address, token: () => token });
    try {
      const { tools } = await connection.client.describeTools({});
      const hashes = new Map(tools.map((tool) => [tool.name, tool.hash]));
      const permissions = [...new Set(tools.flatMap((tool) => tool.permissions))];
      const runAs = async (tenant: string, user: string, all: boolean): Promise<RunTester> => {
        const grant: RunGrant = {
          tenant,
          user,
          run: `run-${randomUUID()}`,
          agent: 'attack',
          agentHash: '0'.repeat(64),
          tools: { [catalog]: [...hashes.keys()] },
          resources: [],
          permissions: all ? permissions : [],
        };
        const runGrant = await runGrantSigner(test.stack.secrets.runGrants.privateJwk).sign(grant);
        const { guard } = test.stack.secrets;
        return new RunTester(connection.client, catalog, hashes, grant, runGrant, guard.privateJwk);
      };
      const callers = [
        ['foreign', await runAs(RIVAL, victim.user, true)],
        ['without rights', await runAs(victim.tenant, 'mallory@acme.example', false)],
      ] as const;
      const owner = await runAs(victim.tenant, victim.user, true);
      for (const tool of tools) {
        const surface = `${catalog}/${tool.name}`;
        const args = argumentsOf(tool, /delivered/.test(tool.name) ? delivered : pending);
        for (const [as, run] of callers) {
          await attack(wire, address, token, { victim, report, surface, as, run, owner, tool, args, marks });
        }
        const call = await owner.prepare(tool.name, args);
        const method = tool.hasPreview ? preview : execute;
        if (method === execute && tool.effectClass !== 1) continue;
        const answer = await wire.call(address, method, requestOf(method.input, { ...call }), token);
        const seen = marks.some((mark) => answer.bytes.includes(mark));
        if (!IMPERSONAL.has(tool.name)) report.compared(surface, seen, answer.text || answer.bytes.toString());
      }
    } finally {
      connection.close();
    }
  }
}

/** Tools that read nobody's records. */
const IMPERSONAL = new Set(['calculate', 'send_email', 'send_message_to_user']);

interface Target {
  readonly victim: Victim;
  readonly report: Report;
  readonly surface: string;
  readonly as: string;
  readonly run: RunTester;
  readonly owner: RunTester;
  readonly tool: ToolDescriptor;
  readonly args: JsonObject;
  readonly marks: readonly string[];
}

async function attack(wire: Wire, address: string, token: string, target: Target): Promise<void> {
  const { victim, report, surface, as, run, owner, tool, args } = target;
  const own = await run.prepare(tool.name, args);
  const theirs = await owner.prepare(tool.name, args);
  const key = String(victim.values.key);
  const tries: readonly (readonly [string, DescMethod, Record<string, unknown>, string | null])[] = [
    ...(tool.hasPreview ? [['preview', preview, { ...own }, token] as const] : []),
    ['execute', execute, { ...own }, token],
    // The victim's record under another's grant, and under none.
    ['execute the victim’s record', execute, { ...theirs, runGrant: own.runGrant }, token],
    ['execute without a grant', execute, { ...own, runGrant: '' }, token],
    ['execute without a token', execute, { ...own }, null],
    ['resolve', resolve, { key, digest: theirs.digest, runGrant: own.runGrant, lookOnly: true }, token],
    ['undo', undo, { ...(await run.prepareUndo({ ...own.record, call: '1.0' })) }, token],
  ];
  let before = await victim.fingerprint();
  for (const [verb, method, values, bearer] of tries) {
    const request = requestOf(method.input, values);
    const answer = await wire.call(address, method, request, bearer);
    const now = await victim.fingerprint();
    const changed = now !== before;
    before = now;
    const answered = bearer === null && answer.code === 0 ? 'it was answered' : null;
    const sent = Buffer.from(request);
    const found = target.marks.find((mark) => answer.bytes.includes(mark) && !sent.includes(mark));
    const held = found === undefined ? null : `the answer holds ${found}`;
    report.add({
      surface,
      as: `${as}, ${verb}`,
      leak: changed ? "a row of the victim's has changed" : (answered ?? held),
    });
  }
}

/** One record of each kind, by the name that arguments have for it. */
async function recordIds(test: TestStack, tenant: string, status: string): Promise<Readonly<Record<string, unknown>>> {
  const first = async (text: string, more: string[] = []): Promise<Record<string, unknown>> =>
    (await test.query(text, [tenant, ...more]))[0] ?? Promise.reject(new Error(`The demo has no ${text}.`));
  const task = await first(
    `select id as task_id, project_id from projects.tasks where tenant = $1 and status = 'open' order by id limit 1`,
  );
  const order = await first(
    `
    select o.order_id, o.user_id, o.items -> 0 ->> 'item_id' as item_id, o.items -> 0 ->> 'product_id' as product_id,
      o.payment_history -> 0 ->> 'payment_method_id' as payment_method_id, c.email, c.first_name, c.last_name,
      c.address ->> 'zip' as zip
    from orders.orders o join orders.customers c on c.tenant = o.tenant and c.user_id = o.user_id
    where o.tenant = $1 and o.status = $2 order by 1 limit 1`,
    [status],
  );
  return { ...task, ...order };
}

type Schema = { [key: string]: unknown } & {
  type?: string;
  properties?: Record<string, Schema>;
  required?: string[];
  enum?: unknown[];
  items?: Schema;
  minItems?: number;
};

function argumentsOf(tool: ToolDescriptor, ids: Readonly<Record<string, unknown>>): JsonObject {
  const schema = JSON.parse(tool.inputSchemaJson) as Schema;
  return plainValue('', schema, ids) as JsonObject;
}

function plainValue(name: string, schema: Schema, ids: Readonly<Record<string, unknown>>): unknown {
  const known = ids[name] ?? ids[name.replace(/^(new|old)_/, '')] ?? ids[name.replace(/s$/, '')];
  if (schema.enum) return schema.enum[0];
  switch (schema.type) {
    case 'object':
      return Object.fromEntries(
        (schema.required ?? []).map((key) => [key, plainValue(key, schema.properties?.[key] ?? {}, ids)]),
      );
    case 'array':
      return [known ?? plainValue(name, schema.items ?? {}, ids)];
    case 'integer':
    case 'number':
      return 1;
    case 'boolean':
      return true;
    default:
      return known ?? PLAIN[name] ?? 'something';
  }
}

/** Where a plain word does not fit the schema. */
const PLAIN: Readonly<Record<string, string>> = {
  to: 'client@northwind.example',
  expression: '1 + 1',
  assignee: 'mallory@acme.example',
  country: 'USA',
  state: 'NY',
};
