import { randomUUID } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { DescMethod, DescService } from '@bufbuild/protobuf';
import { DEV_AUDIENCE, DEV_ISSUER } from '#deploy/dev/secrets.ts';
import { ROLES, type Role } from '#platform/identity/principal.ts';
import { mintToken } from '#platform/identity/tokens.ts';
import type { TestStack } from '#test/support/stack.ts';
import { requestOf, type Values } from './requests.ts';
import type { Attempt, Report } from './suite.ts';
import { RIVAL, type Victim } from './victim.ts';
import type { Answer, Wire } from './wire.ts';

const UNIMPLEMENTED = 12;
const PEOPLE: readonly Role[] = ROLES.filter((role) => role !== 'worker' && role !== 'service');

/** One method, and where it is served. */
interface Surface {
  readonly method: DescMethod;
  readonly address: string;
}

/** Every method of every service there is a proto of, where it is served. Throws where one is served nowhere. */
export async function rpcSurfaces(test: TestStack, wire: Wire): Promise<readonly Surface[]> {
  const { runApi, guard } = test.stack.environment;
  const surfaces: Surface[] = [];
  for (const service of await services()) {
    // Tools are tried one by one, and their catalogs' methods with them.
    if (service.typeName === 'steward.catalog.v1.ToolCatalog' || !service.typeName.startsWith('steward.')) continue;
    for (const method of service.methods) {
      const served: string[] = [];
      for (const address of [runApi, guard]) {
        const { code, text } = await wire.call(address, method, new Uint8Array(), null);
        if (code !== UNIMPLEMENTED || /needs|token/i.test(text)) served.push(address);
      }
      const address = served[0];
      if (address === undefined) throw new Error(`${service.typeName}/${method.name} is served nowhere.`);
      surfaces.push({ method, address });
    }
  }
  return surfaces;
}

async function services(): Promise<readonly DescService[]> {
  const root = join(import.meta.dirname, '../../../protos/gen');
  const files = (await readdir(root, { recursive: true })).filter((file) => file.endsWith('_pb.ts')).toSorted();
  const found: DescService[] = [];
  for (const file of files) {
    const module = (await import(join(root, file))) as Record<string, { kind?: unknown }>;
    for (const value of Object.values(module)) if (value?.kind === 'service') found.push(value as DescService);
  }
  return found;
}

/** Tries every method as everybody who must not get at the victim's things, and as the victim's own people to compare. */
export async function attackRpcs(test: TestStack, victim: Victim, wire: Wire, report: Report): Promise<void> {
  const surfaces = await rpcSurfaces(test, wire);
  const mint = (tenant: string, subject: string, roles: readonly Role[]) =>
    mintToken(
      test.stack.secrets.tokens.privateJwk,
      { issuer: DEV_ISSUER, audience: DEV_AUDIENCE, tenant, subject, roles },
      3_600,
    );
  const worker = await mint('', 'steward', ['worker']);
  const [rival, rivalService] = [
    await mint(RIVAL, victim.user, PEOPLE),
    await mint(RIVAL, 'release-desk', ['service']),
  ];
  const mallory = await mint(victim.tenant, 'mallory@acme.example', ['user']);
  const nobody = await mint('', victim.user, PEOPLE);
  // As if run-api had been made to sign it: the victim's run in the rival's name.
  const stolen = victim.runs[1] as string;
  const rivalGrant = await victim.grantFor(RIVAL, victim.user, stolen);
  const malloryGrant = await victim.grantFor(victim.tenant, 'mallory@acme.example', `run-${randomUUID()}`);
  const { tenant } = victim;
  const everything = [victim.tenantMark, victim.runMark, ...victim.runs, String(victim.values.approvalId)];
  const butStolen = everything.filter((mark) => mark !== stolen);
  const ofRuns = everything.filter((mark) => mark !== victim.tenantMark);
  const tries: readonly Try[] = [
    { as: 'foreign', token: rival, values: { runGrant: rivalGrant }, marks: butStolen, own: false },
    { as: 'foreign, naming the tenant', token: rival, values: { tenant }, marks: everything, own: false },
    { as: "foreign, a service's", token: rivalService, values: {}, marks: everything, own: false },
    { as: 'foreign, a worker', token: worker, values: { runGrant: rivalGrant }, marks: butStolen, own: false },
    { as: 'without rights', token: mallory, values: {}, marks: ofRuns, own: true },
    { as: 'without rights, a worker', token: worker, values: { runGrant: malloryGrant }, marks: ofRuns, own: true },
    { as: 'no tenant', token: nobody, values: { tenant }, marks: null, own: false },
    { as: 'no token', token: null, values: { tenant }, marks: null, own: false },
  ];
  const before = { all: await victim.fingerprint(), own: await victim.fingerprint(true) };
  // The rival's own audit log tells what it tried: it is read before anything is in it.
  const first = ({ method }: Surface): number => (method.parent.name === 'AuditService' ? 0 : 1);
  for (const { method, address } of surfaces.toSorted((one, other) => first(one) - first(other))) {
    const surface = `${method.parent.typeName}/${method.name}`;
    for (const one of tries) {
      const request = requestFor(method, victim.values, one.values);
      const answer = await wire.call(address, method, request, one.token);
      const now = await victim.fingerprint(one.own);
      report.add(judge(surface, one, request, answer, now !== before[one.own ? 'own' : 'all']));
      before[one.own ? 'own' : 'all'] = now;
    }
  }
  await compare(surfaces, await mint(tenant, 'olga@acme.example', PEOPLE), victim, wire, report);
}

interface Try {
  readonly as: string;
  readonly token: string | null;
  readonly values: Values;
  /** What must not come back; null: nothing may. */
  readonly marks: readonly string[] | null;
  readonly own: boolean;
}

function requestFor(method: DescMethod, values: Values, more: Values): Uint8Array {
  return requestOf(method.input, { ...values, requestId: randomUUID(), ...more });
}

function judge(surface: string, { as, marks }: Try, request: Uint8Array, answer: Answer, changed: boolean): Attempt {
  const attempt = { surface, as };
  if (changed) return { ...attempt, leak: "a row of the victim's has changed" };
  if (marks === null) return { ...attempt, leak: answer.code === 0 ? 'it was answered' : null };
  const sent = Buffer.from(request);
  // What was sent may be said back; what stands beside it may not.
  const found = marks.find((mark) => answer.bytes.includes(mark) && !sent.includes(mark));
  return { ...attempt, leak: found === undefined ? null : `the answer holds ${found}` };
}

/** The same requests as the victim's own people must bring its things to light, or the attack has tried nothing. */
async function compare(
  surfaces: readonly Surface[],
  token: string,
  victim: Victim,
  wire: Wire,
  report: Report,
): Promise<void> {
  for (const { method, address } of surfaces) {
    if (!/^(Get|List|Watch|Export|Search|Show)/.test(method.name)) continue;
    const request = requestFor(method, victim.values, {});
    const answer = await wire.call(address, method, request, token);
    const seen = [victim.tenantMark, victim.runMark, ...victim.runs].some((mark) => answer.bytes.includes(mark));
    report.compared(`${method.parent.typeName}/${method.name}`, seen, answer.text);
  }
}
