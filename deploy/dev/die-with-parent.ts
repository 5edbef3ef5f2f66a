/**
 * Loaded before a service's own entry: when the launcher dies without stopping it, the service ends too. The system
 * closes the channel between the two, whatever the launcher died of.
 */

const GRACE_MS = 5_000;

process.once('disconnect', () => {
  process.kill(process.pid, 'SIGTERM');
  setTimeout(() => process.exit(1), GRACE_MS).unref();
});
// A listener keeps the process alive, and this one must not.
process.channel?.unref();
