import { loadScripts } from './registry.ts';
import { startOfflineModel } from './server.ts';

/**
 * The offline model as a process. STEWARD_LISTEN is `host:port` (default 127.0.0.1:0), OFFLINE_MODEL_SCRIPTS a list of
 * files and folders with further scripts, OFFLINE_MODEL_DELAY_MS the wait before every answer. Prints one line
 * `STEWARD_READY {"address":…}` when it serves, and stops on SIGTERM or SIGINT.
 */
async function main(): Promise<void> {
  const listen = process.env.STEWARD_LISTEN ?? '127.0.0.1:0';
  const [, host, port] = /^(.+):(\d{1,5})$/.exec(listen) ?? [];
  if (host === undefined) throw new Error(`STEWARD_LISTEN must be host:port; it is "${listen}".`);
  const delay = process.env.OFFLINE_MODEL_DELAY_MS ?? '0';
  if (!/^\d{1,5}$/.test(delay)) throw new Error(`OFFLINE_MODEL_DELAY_MS must be 0 to 99999; it is "${delay}".`);
  const paths = (process.env.OFFLINE_MODEL_SCRIPTS ?? '').split(',').map((path) => path.trim());
  const model = await startOfflineModel({
    host: host.replace(/^\[|\]$/g, ''),
    port: Number(port),
    delayMs: Number(delay),
    scripts: await loadScripts(paths.filter((path) => path !== '')),
  });
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => {
      model.close().then(
        () => process.exit(0),
        () => process.exit(1),
      );
    });
  }
  process.stdout.write(`STEWARD_READY ${JSON.stringify({ address: model.url })}\n`);
}

main().catch((error: unknown) => {
  process.stderr.write(`offline-model: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
});
