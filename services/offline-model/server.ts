import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { anthropicWire } from './anthropic.ts';
import { digest } from './binding.ts';
import { ConversationView } from './conversation.ts';
import { Attempts, type Outcome, RequestLog, type SeenRequest } from './log.ts';
import { openAiWire } from './openai.ts';
import { choose, together } from './registry.ts';
import { sendStream, sendWhole } from './respond.ts';
import { type Fault, play, type Script, ScriptError, type ScriptedAnswer } from './script.ts';
import { builtInScripts } from './scripts/index.ts';
import { PromptCache, promptOf } from './usage.ts';
import { ApiError, invalid, type Request, type Wire } from './wire.ts';

const WIRES: Readonly<Record<string, Wire>> = { '/v1/messages': anthropicWire, '/v1/responses': openAiWire };

const MOST_BODY_BYTES = 32 * 1024 * 1024;

export interface OfflineModelOptions {
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** Default 0: one that is free. */
  readonly port?: number;
  /** In addition to the built-in scripts. */
  readonly scripts?: readonly Script[];
  /** Milliseconds before the first piece of every answer. Default 0. */
  readonly delayMs?: number;
}

/** A serving offline model. */
export interface OfflineModel {
  readonly url: string;
  /** The last requests, oldest first. */
  readonly requests: readonly SeenRequest[];
  /** Breaks what is under way and stops. */
  close(): Promise<void>;
}

interface State {
  readonly scripts: readonly Script[];
  readonly delayMs: number;
  readonly log: RequestLog;
  readonly attempts: Attempts;
  readonly cache: PromptCache;
}

/**
 * Starts a server that speaks Anthropic's Messages and OpenAI's Responses format and plays scripts. Rejects with ScriptError where two scripts
 * have one name, and with an error that names the address where it is taken.
 */
export async function startOfflineModel(options: OfflineModelOptions = {}): Promise<OfflineModel> {
  const state: State = {
    scripts: together(builtInScripts, options.scripts ?? []),
    delayMs: options.delayMs ?? 0,
    log: new RequestLog(),
    attempts: new Attempts(),
    cache: new PromptCache(),
  };
  const server = createServer((req, res) => {
    route(state, req, res).catch(() => res.destroy());
  });
  await listen(server, options.host ?? '127.0.0.1', options.port ?? 0);
  const { address, port } = server.address() as AddressInfo;
  return {
    url: `http://${address.includes(':') ? `[${address}]` : address}:${port}`,
    requests: state.log.entries,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const why = cause.code === 'EADDRINUSE' ? 'the address is taken' : cause.message;
      reject(new Error(`The offline model cannot listen on ${host}:${port}: ${why}.`, { cause }));
    });
    server.listen(port, host, resolve);
  });
}

async function route(state: State, req: IncomingMessage, res: ServerResponse): Promise<void> {
  const url = new URL(req.url ?? '/', 'http://offline');
  if (req.method === 'GET' && url.pathname === '/health') return sendJson(res, 200, { status: 'serving' });
  if (req.method === 'GET' && url.pathname === '/requests') {
    const user = url.searchParams.get('user');
    const entries = state.log.entries.filter((seen) => user === null || seen.userId === user);
    return sendJson(res, 200, { requests: entries.map(({ body: _, ended: __, ...rest }) => rest) });
  }
  const wire = req.method === 'POST' ? WIRES[url.pathname] : undefined;
  if (wire !== undefined) return ask(state, wire, req, res);
  const absent = new ApiError(404, 'not_found_error', `offline-model: there is no ${req.method} ${url.pathname}`);
  sendError(res, anthropicWire, absent);
}

async function ask(state: State, wire: Wire, req: IncomingMessage, res: ServerResponse): Promise<void> {
  const { seen, end } = state.log.begin(Date.now());
  const gone = new AbortController();
  res.once('close', () => {
    gone.abort();
    end(res.writableFinished ? 'answered' : 'closed', Date.now());
  });
  let outcome: Outcome;
  try {
    outcome = await answer(state, wire, req, res, seen, gone.signal);
  } catch (error) {
    const refusal = asApiError(error, seen);
    seen.error = refusal.message;
    sendError(res, wire, refusal);
    outcome = 'refused';
  }
  seen.status = res.headersSent ? res.statusCode : null;
  end(outcome, Date.now());
}

async function answer(
  state: State,
  wire: Wire,
  req: IncomingMessage,
  res: ServerResponse,
  seen: SeenRequest,
  gone: AbortSignal,
): Promise<Outcome> {
  wire.checkHeaders(req.headers);
  seen.body = await readJson(req);
  const request = wire.read(seen.body);
  seen.userId = request.metadata?.user_id ?? null;
  const view = new ConversationView(request);
  seen.turn = view.turn;
  const script = choose(state.scripts, view);
  seen.script = script.name;
  const scripted = play(script, view);
  const fault = faultOf(state, request, scripted, seen);
  res.setHeader(wire.requestIdHeader, `req_${digest(seen.number, request.messages).slice(0, 24)}`);
  if (fault?.kind === 'status') throw statusFault(wire, fault);
  const said = fault?.kind === 'empty' ? { pace: scripted.pace ?? {} } : scripted;
  const prompt = promptOf(request);
  const rendered = wire.render(request, said, prompt, state.cache.account(prompt));
  const pace = { ...scripted.pace, firstMs: (scripted.pace?.firstMs ?? 0) + state.delayMs };
  const delivery = { pace, fault: fault?.kind === 'empty' ? null : fault, gone };
  return request.stream ? sendStream(res, rendered, delivery) : sendWhole(res, rendered, delivery);
}

/** The answer's fault, if this try of the request still shows it. */
function faultOf(state: State, request: Request, { fault }: ScriptedAnswer, seen: SeenRequest): Fault | null {
  if (fault === undefined) return null;
  // The output cap may differ between two tries of one turn, since the budget moves.
  const { max_tokens: _, ...same } = request;
  seen.attempt = state.attempts.next(digest(same));
  const shown = fault.attempts ?? 1;
  return shown === 'always' || seen.attempt <= shown ? fault : null;
}

function statusFault(wire: Wire, fault: Extract<Fault, { kind: 'status' }>): ApiError {
  return new ApiError(
    fault.status,
    fault.type ?? wire.errorType(fault.status),
    fault.message ?? `The script answers with status ${fault.status}.`,
    fault.retryAfter === undefined ? {} : { 'retry-after': String(fault.retryAfter) },
  );
}

async function readJson(req: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of req as AsyncIterable<Buffer>) {
    bytes += chunk.byteLength;
    if (bytes > MOST_BODY_BYTES) throw new ApiError(413, 'request_too_large', 'Request exceeds the maximum size');
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString());
  } catch (cause) {
    throw Object.assign(invalid('The request body is not valid JSON'), { cause });
  }
}

function asApiError(error: unknown, seen: SeenRequest): ApiError {
  if (error instanceof ApiError) return error;
  const at = seen.script === null ? '' : `script "${seen.script}" has no answer for turn ${seen.turn}: `;
  if (error instanceof ScriptError) return invalid(`offline-model: ${at}${error.message}`);
  return new ApiError(500, 'api_error', `offline-model: ${at}${error instanceof Error ? error.message : 'it failed'}`);
}

function sendError(res: ServerResponse, wire: Wire, error: ApiError): void {
  if (res.headersSent || res.destroyed) {
    res.destroy();
    return;
  }
  for (const [name, value] of Object.entries(error.headers)) res.setHeader(name, value);
  sendJson(res, error.status, wire.errorBody(error, String(res.getHeader(wire.requestIdHeader) ?? '')));
}

function sendJson(res: ServerResponse, status: number, body: unknown): void {
  res.writeHead(status, { 'content-type': 'application/json' });
  res.end(JSON.stringify(body));
}
