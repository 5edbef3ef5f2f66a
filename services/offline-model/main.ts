import { announceReady, runService } from '#platform/config/process.ts';
import { loadScripts } from './registry.ts';
import { startOfflineModel } from './server.ts';

/**
 * The offline model as a process. STEWARD_LISTEN is `host:port` (default 127.0.0.1:0), OFFLINE_MODEL_SCRIPTS a list of
 * files and folders with further scripts, OFFLINE_MODEL_DELAY_MS the wait before every answer.
 */
await runService(async () => {
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
  announceReady({ address: model.url });
  return () => model.close();
});
