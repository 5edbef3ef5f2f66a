import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { gunzipSync } from 'node:zlib';
import protobuf from 'protobufjs';

/** The part of OpenTelemetry's trace protocol (opentelemetry-proto 1.x) that spans of ours use. */
const PROTO = `
  syntax = "proto3";
  message ExportTraceServiceRequest { repeated ResourceSpans resource_spans = 1; }
  message ResourceSpans { Resource resource = 1; repeated ScopeSpans scope_spans = 2; }
  message Resource { repeated KeyValue attributes = 1; }
  message ScopeSpans { InstrumentationScope scope = 1; repeated Span spans = 2; }
  message InstrumentationScope { string name = 1; string version = 2; }
  message Span {
    bytes trace_id = 1; bytes span_id = 2; string trace_state = 3; bytes parent_span_id = 4; string name = 5;
    int32 kind = 6; fixed64 start_time_unix_nano = 7; fixed64 end_time_unix_nano = 8; repeated KeyValue attributes = 9;
    Status status = 15; fixed32 flags = 16;
  }
  message Status { string message = 2; int32 code = 3; }
  message KeyValue { string key = 1; AnyValue value = 2; }
  message AnyValue {
    oneof value { string string_value = 1; bool bool_value = 2; int64 int_value = 3; double double_value = 4; }
  }`;
const REQUEST = protobuf.parse(PROTO).root.lookupType('ExportTraceServiceRequest');

/** A span as a collector got it. Times in milliseconds since 1970. */
export interface GotSpan {
  readonly service: string;
  readonly trace: string;
  readonly id: string;
  /** Empty: none. */
  readonly parent: string;
  readonly name: string;
  /** As in the protocol: 1 internal, 2 server, 3 client. */
  readonly kind: number;
  readonly from: number;
  readonly to: number;
  readonly failed: boolean;
  readonly attributes: Readonly<Record<string, unknown>>;
}

export interface Collector {
  /** For OTEL_EXPORTER_OTLP_ENDPOINT. */
  readonly url: string;
  readonly spans: GotSpan[];
  /** Headers of the last request. */
  headers(): Readonly<Record<string, unknown>>;
  /** Answers requests with this status and takes nothing, until 200 is said. */
  answer(status: number): void;
  /** Requests that were turned away. */
  refused(): number;
  /** Waits until the spans are such, for `ms` at most; throws with the names of those that came. */
  until(holds: (spans: readonly GotSpan[]) => boolean, ms?: number): Promise<void>;
  stop(): Promise<void>;
}

interface Wire {
  readonly resourceSpans?: readonly {
    readonly resource?: { readonly attributes?: readonly WireAttribute[] };
    readonly scopeSpans?: readonly { readonly spans?: readonly WireSpan[] }[];
  }[];
}

interface WireAttribute {
  readonly key: string;
  readonly value: Readonly<Record<string, unknown>>;
}

interface WireSpan {
  readonly traceId: Buffer;
  readonly spanId: Buffer;
  readonly parentSpanId?: Buffer;
  readonly name: string;
  readonly kind?: number;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly attributes?: readonly WireAttribute[];
  readonly status?: { readonly code?: number };
}

/** A collector on a free port: a real HTTP server that reads OTLP in protobuf. */
export async function startCollector(): Promise<Collector> {
  const spans: GotSpan[] = [];
  let status = 200;
  let refused = 0;
  let headers: Record<string, unknown> = {};
  let look = (): void => undefined;
  const server = createServer(async (request, response) => {
    const sent = await buffer(request);
    headers = request.headers;
    const fits = request.url === '/v1/traces' && request.headers['content-type'] === 'application/x-protobuf';
    if (status !== 200 || !fits) {
      refused += 1;
      response.writeHead(fits ? status : 415).end();
    } else {
      spans.push(...read(request.headers['content-encoding'] === 'gzip' ? gunzipSync(sent) : sent));
      response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
    }
    look();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    spans,
    headers: () => headers,
    answer(code) {
      status = code;
    },
    refused: () => refused,
    until: (holds, ms = 20_000) =>
      new Promise((resolve, reject) => {
        const timer = setTimeout(() => {
          const came = spans.map((span) => `${span.service} ${span.name} ${span.id} < ${span.parent}`).join('\n');
          reject(new Error(`It never came to that. ${spans.length} spans, ${refused} requests refused:\n${came}`));
        }, ms);
        look = () => {
          if (!holds(spans)) return;
          clearTimeout(timer);
          look = () => undefined;
          resolve();
        };
        look();
      }),
    async stop() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

function read(bytes: Uint8Array): GotSpan[] {
  const options = { longs: String, oneofs: false };
  const request = REQUEST.toObject(REQUEST.decode(bytes), options) as Wire;
  return (request.resourceSpans ?? []).flatMap(({ resource, scopeSpans = [] }) => {
    const service = String(attributesOf(resource?.attributes)['service.name']);
    return scopeSpans.flatMap(({ spans = [] }) => spans.map((span) => toGot(service, span)));
  });
}

function toGot(service: string, span: WireSpan): GotSpan {
  return {
    service,
    trace: hex(span.traceId),
    id: hex(span.spanId),
    parent: hex(span.parentSpanId),
    name: span.name,
    kind: span.kind ?? 0,
    from: Number(BigInt(span.startTimeUnixNano) / 1_000_000n),
    to: Number(BigInt(span.endTimeUnixNano) / 1_000_000n),
    failed: span.status?.code === 2,
    attributes: attributesOf(span.attributes),
  };
}

function hex(bytes: Uint8Array | undefined): string {
  return Buffer.from(bytes ?? []).toString('hex');
}

function attributesOf(list: readonly WireAttribute[] | undefined): Record<string, unknown> {
  return Object.fromEntries(
    (list ?? []).map(({ key, value }) => [key, 'intValue' in value ? Number(value.intValue) : Object.values(value)[0]]),
  );
}
