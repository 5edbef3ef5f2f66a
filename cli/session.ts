import type { DescMessage, DescService, MessageShape } from '@bufbuild/protobuf';
import { StewardError } from '#domain/errors.ts';
import { AdminService } from '#gen/steward/admin/v1/admin_service_pb.ts';
import { InvestigationService } from '#gen/steward/admin/v1/investigation_service_pb.ts';
import { AuditService } from '#gen/steward/audit/v1/audit_service_pb.ts';
import { BudgetService } from '#gen/steward/budget/v1/budget_service_pb.ts';
import { ApprovalService } from '#gen/steward/guard/v1/approval_service_pb.ts';
import { KillSwitchService } from '#gen/steward/guard/v1/kill_switch_service_pb.ts';
import { LimitService } from '#gen/steward/guard/v1/limit_service_pb.ts';
import { IncidentService } from '#gen/steward/incident/v1/incident_service_pb.ts';
import { RunService } from '#gen/steward/run/v1/run_service_pb.ts';
import { type Client, type Connection, connect } from '#platform/grpc/client.ts';
import { type Globals, resolveTarget, type Target } from './connection.ts';
import { documentText, toDocument } from './document.ts';
import { type Look, lookFor } from './render/look.ts';
import { commandName, note, print, withProgress } from './terminal.ts';

const TIMEOUT_MS = 10_000;

/** One invocation: the services it talks to, and how it answers. */
export class Session {
  readonly json: boolean;
  readonly look: Look;
  /** Milliseconds one call may take. */
  readonly timeoutMs: number;
  /** How the reader calls this command. */
  readonly command: string;
  readonly target: Target;
  /** The id to repeat a mutation with, where one is under way. */
  requestId: string | undefined;
  readonly #connections = new Map<DescService, Connection<DescService>>();

  constructor(globals: Globals, target: Target) {
    this.json = globals.json === true;
    this.look = lookFor(process.stdout);
    this.timeoutMs = globals.timeout ?? TIMEOUT_MS;
    this.command = commandName();
    this.target = target;
  }

  get runs(): Client<typeof RunService> {
    return this.#client(RunService, 'run-api');
  }

  get admin(): Client<typeof AdminService> {
    return this.#client(AdminService, 'run-api');
  }

  get limits(): Client<typeof LimitService> {
    return this.#client(LimitService, 'guard');
  }

  get audit(): Client<typeof AuditService> {
    return this.#client(AuditService, 'run-api');
  }

  get incidents(): Client<typeof IncidentService> {
    return this.#client(IncidentService, 'run-api');
  }

  get investigations(): Client<typeof InvestigationService> {
    return this.#client(InvestigationService, 'run-api');
  }

  get budget(): Client<typeof BudgetService> {
    return this.#client(BudgetService, 'run-api');
  }

  get approvals(): Client<typeof ApprovalService> {
    return this.#client(ApprovalService, 'guard');
  }

  get switches(): Client<typeof KillSwitchService> {
    return this.#client(KillSwitchService, 'guard');
  }

  /** Waits for a call, and says so where it takes over a second; to a person, not to a program. */
  async wait<T>(what: string, call: Promise<T>): Promise<T> {
    return this.json && process.stderr.isTTY !== true ? await call : await withProgress(what, call);
  }

  /** The result: lines for a person, or the message as a JSON document. */
  show<D extends DescMessage>(schema: D, message: MessageShape<D>, lines: () => readonly string[]): void {
    print(this.json ? [documentText(toDocument(schema, message))] : lines());
  }

  /** A remark for a person; silent where the output is for a program. */
  remark(text: string): void {
    if (!this.json) note(text);
  }

  close(): void {
    for (const connection of this.#connections.values()) connection.close();
  }

  #client<S extends DescService>(service: S, name: 'run-api' | 'guard'): Client<S> {
    const open = this.#connections.get(service) as Connection<S> | undefined;
    if (open !== undefined) return open.client;
    const address = name === 'guard' ? this.target.guard : this.target.runApi;
    if (address === null) throw noAddress(name, this.command);
    if (this.#connections.size === 0 && this.target.token.kind === 'local') {
      note(lookFor(process.stderr).paint.dim(`Using the local environment, as ${this.target.token.from}.`));
    }
    const connection = connect(service, {
      address,
      name,
      token: this.target.token.get,
      deadlineMs: this.timeoutMs,
    });
    this.#connections.set(service, connection as unknown as Connection<DescService>);
    return connection.client;
  }
}

function noAddress(name: 'run-api' | 'guard', command: string): StewardError {
  const [option, variable] =
    name === 'guard' ? ['--guard-address', 'STEWARD_GUARD_ADDRESS'] : ['--address', 'STEWARD_ADDRESS'];
  return new StewardError(
    'INVALID_REQUEST',
    `No address of ${name}: set ${variable} or ${option} to its host:port. For a local one: ${command} dev up`,
  );
}

/** Opens a session. Throws INVALID_REQUEST for an address that is none. */
export async function openSession(globals: Globals): Promise<Session> {
  return new Session(globals, await resolveTarget(globals));
}
