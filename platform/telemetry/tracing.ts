import { StewardError } from '#domain/errors.ts';
import type { RunFacts } from './run-facts.ts';
import type { TraceParent } from './trace.ts';

/** A call being served, in its caller's trace. */
export interface ServedSpan {
  readonly span: string;
  /** `code` of the error it ended with; undefined: none. */
  end(code?: string): void;
}

/** What a process does about traces. There is none where no exporter is configured: then nothing is recorded. */
export interface Tracing {
  /** Whether spans of this trace are recorded. */
  samples(trace: string, parent: TraceParent | undefined): boolean;
  /** Begins the span of a served call. Only inside of a trace that is recorded. */
  serve(rpc: string, parent: TraceParent): ServedSpan;
  /** Hands spans of a run over; false where the collector has not taken them. Never throws. */
  exportRun(facts: RunFacts): Promise<boolean>;
  /** Hands over what is left, for three seconds at most. */
  close(): Promise<void>;
}

let current: Tracing | null = null;

/** The tracing of this process; null where no exporter is configured. */
export function tracing(): Tracing | null {
  return current;
}

/**
 * Starts tracing where the environment names an OTLP endpoint, by OpenTelemetry's own variables. Throws INVALID_REQUEST
 * where they ask for what is not there.
 */
export async function startTracing(
  service: string,
  log: { warn(fields: object, message: string): void },
): Promise<void> {
  const { env } = process;
  const endpoint = env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT || env.OTEL_EXPORTER_OTLP_ENDPOINT;
  const off = env.OTEL_SDK_DISABLED?.toLowerCase() === 'true' || env.OTEL_TRACES_EXPORTER === 'none';
  if (!endpoint || off) return;
  const protocol = env.OTEL_EXPORTER_OTLP_TRACES_PROTOCOL || env.OTEL_EXPORTER_OTLP_PROTOCOL || 'http/protobuf';
  if (protocol !== 'http/protobuf') {
    throw new StewardError('INVALID_REQUEST', `OTEL_EXPORTER_OTLP_PROTOCOL is ${protocol}; spans go by http/protobuf.`);
  }
  // Loaded only where it is used: it makes a start slower.
  const { openOtlp } = await import('./otlp.ts');
  current = openOtlp(service, log);
}

/** Ends tracing: what is left is handed over, for three seconds at most. */
export async function stopTracing(): Promise<void> {
  const last = current;
  current = null;
  await last?.close();
}
