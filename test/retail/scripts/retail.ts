import { defineScript, type ScriptedCall } from '#services/offline-model/script.ts';

/** Proposes the calls that the run's input lists, one a turn, in order. What came of them changes nothing. */
export const retail = defineScript({
  name: 'retail',
  answer: (view) => {
    const calls = view.param<readonly ScriptedCall[]>('calls', []);
    const next = calls[view.turn];
    return next === undefined ? { text: `Made ${calls.length} calls.` } : { calls: [next] };
  },
});
