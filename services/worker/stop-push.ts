import type { StopPush } from '#activities/run-context.ts';
import { listen } from '#platform/database/listen.ts';
import { CANCEL_CHANNEL } from '#platform/database/notify.ts';

/**
 * Hears over LISTEN that a run is to stop, and stops its activities of this worker at once. A push that is lost costs a
 * heartbeat: Temporal's own cancellation comes with the next one.
 */
export function listenForStops(url: string): StopPush & { readonly ready: Promise<void>; close(): Promise<void> } {
  const running = new Map<string, Set<() => void>>();
  const listener = listen({
    url,
    channels: [CANCEL_CHANNEL],
    name: 'steward-worker-stops',
    onNotify: (_channel, payload) => {
      for (const run of payload.split(',')) for (const stop of running.get(run) ?? []) stop();
    },
  });
  return {
    ready: listener.ready,
    close: () => listener.close(),
    onStop(run, stop) {
      const stops = running.get(run) ?? new Set();
      running.set(run, stops.add(stop));
      return () => {
        stops.delete(stop);
        if (stops.size === 0 && running.get(run) === stops) running.delete(run);
      };
    },
  };
}
