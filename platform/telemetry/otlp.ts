import { randomUUID } from 'node:crypto';
import { type Context, ROOT_CONTEXT, SpanKind, SpanStatusCode, TraceFlags, trace } from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { detectResources, envDetector, type Resource, resourceFromAttributes } from '@opentelemetry/resources';
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  BasicTracerProvider,
  BatchSpanProcessor,
  ParentBasedSampler,
  type ReadableSpan,
  type Sampler,
  SamplingDecision,
  type SpanExporter,
  TraceIdRatioBasedSampler,
} from '@opentelemetry/sdk-trace-base';
import { StewardError } from '#domain/errors.ts';
import { A } from './names.ts';
import { spansOf } from './run-tree.ts';
import type { TraceParent } from './trace.ts';
import type { Tracing } from './tracing.ts';

interface WarnLog {
  warn(fields: object, message: string): void;
}

/** Spans of one request to the collector. */
const MOST_SPANS = 512;
const CLOSE_MS = 3_000;
const SAID_AGAIN_MS = 60_000;

/**
 * Tracing over OTLP. Endpoint, headers, certificates, timeout, queue, sampler and resource attributes are read from
 * OpenTelemetry's own variables. A collector that is away costs spans, and never a call.
 */
export function openOtlp(service: string, log: WarnLog): Tracing {
  const resource = resourceOf(service);
  const sampler = samplerOf();
  const said = tellOfFailures(new OTLPTraceExporter(), log);
  const provider = new BasicTracerProvider({
    resource,
    sampler: new ParentBasedSampler({ root: new AlwaysOffSampler() }),
    spanProcessors: [new BatchSpanProcessor(said)],
  });
  const tracer = provider.getTracer('steward');
  return {
    samples: (id, parent) =>
      sampler.shouldSample(contextOf(parent), id, 'run', SpanKind.INTERNAL, {}, []).decision ===
      SamplingDecision.RECORD_AND_SAMPLED,

    serve(rpc, parent) {
      const [name = '', method = ''] = rpc.split('/');
      const attributes = { [A.rpcSystem]: 'grpc', [A.rpcService]: name, [A.rpcMethod]: method };
      const span = tracer.startSpan(rpc, { kind: SpanKind.SERVER, attributes }, contextOf(parent));
      return {
        span: span.spanContext().spanId,
        end(code) {
          if (code !== undefined) {
            span.setAttribute(A.errorType, code);
            span.setStatus({ code: SpanStatusCode.ERROR });
          }
          span.end();
        },
      };
    },

    async exportRun(facts) {
      const spans = spansOf(facts, resource);
      for (let from = 0; from < spans.length; from += MOST_SPANS) {
        if (!(await handOver(said, spans.slice(from, from + MOST_SPANS)))) return false;
      }
      return true;
    },

    async close() {
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, CLOSE_MS);
      });
      await Promise.race([provider.shutdown().catch(() => undefined), late]);
      clearTimeout(timer);
    },
  };
}

function resourceOf(service: string): Resource {
  return resourceFromAttributes({
    'service.name': `steward-${service}`,
    'service.namespace': 'steward',
    'service.instance.id': randomUUID(),
    // OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win.
  }).merge(detectResources({ detectors: [envDetector] }));
}

function contextOf(parent: TraceParent | undefined): Context {
  if (parent === undefined) return ROOT_CONTEXT;
  return trace.setSpanContext(ROOT_CONTEXT, {
    traceId: parent.trace,
    spanId: parent.span,
    traceFlags: parent.sampled ? TraceFlags.SAMPLED : TraceFlags.NONE,
    isRemote: true,
  });
}

function samplerOf(): Sampler {
  const { env } = process;
  const name = env.OTEL_TRACES_SAMPLER || 'parentbased_always_on';
  const root = rootSampler(name.replace(/^parentbased_/, ''), env.OTEL_TRACES_SAMPLER_ARG);
  return name.startsWith('parentbased_') ? new ParentBasedSampler({ root }) : root;
}

function rootSampler(name: string, argument: string | undefined): Sampler {
  switch (name) {
    case 'always_on':
      return new AlwaysOnSampler();
    case 'always_off':
      return new AlwaysOffSampler();
    case 'traceidratio': {
      const ratio = Number(argument || 1);
      if (ratio >= 0 && ratio <= 1) return new TraceIdRatioBasedSampler(ratio);
      throw new StewardError('INVALID_REQUEST', `OTEL_TRACES_SAMPLER_ARG must be 0 to 1; it is ${argument}.`);
    }
    default:
      throw new StewardError(
        'INVALID_REQUEST',
        `OTEL_TRACES_SAMPLER must be always_on, always_off or traceidratio, or one of these behind parentbased_.`,
      );
  }
}

function handOver(exporter: SpanExporter, spans: ReadableSpan[]): Promise<boolean> {
  return new Promise((resolve) => exporter.export(spans, (result) => resolve(result.code === 0)));
}

/** Says once a minute at most that spans do not arrive, and how many. */
function tellOfFailures(exporter: SpanExporter, log: WarnLog): SpanExporter {
  let lost = 0;
  let saidAt = 0;
  return {
    export(spans, done) {
      exporter.export(spans, (result) => {
        if (result.code !== 0) {
          lost += spans.length;
          if (Date.now() - saidAt >= SAID_AGAIN_MS) {
            log.warn({ spans: lost, err: result.error }, 'spans were not taken by the collector');
            saidAt = Date.now();
            lost = 0;
          }
        }
        done(result);
      });
    },
    forceFlush: () => exporter.forceFlush?.() ?? Promise.resolve(),
    shutdown: () => exporter.shutdown(),
  };
}
