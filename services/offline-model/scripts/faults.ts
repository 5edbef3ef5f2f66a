import type { ConversationView } from '../conversation.ts';
import { defineScript, type Fault, type Script } from '../script.ts';

/**
 * Scripts in which something goes wrong. `params: {"attempts": 2}` says on how many tries of the request (1; -1 for
 * all); then the answer is "Here I am.". With `model`, only models whose id begins so have it.
 */
function faulty(name: string, faultOf: (view: ConversationView) => Fault): Script {
  return defineScript({
    name,
    answer: (view) => {
      const attempts = view.param('attempts', 1);
      const text = view.param('text', 'Here I am.');
      if (!view.model.startsWith(view.param('model', ''))) return { text };
      return {
        text,
        fault: { ...faultOf(view), attempts: attempts < 0 ? 'always' : attempts },
      };
    },
  });
}

const retryAfter = (view: ConversationView, fallback: string): { retryAfter?: string } => {
  const value = view.params.retryAfter ?? fallback;
  return value === '' ? {} : { retryAfter: String(value) };
};

/** In the order of the guide. */
export const faultScripts: readonly Script[] = [
  faulty('rate-limited', (view) => ({ kind: 'status', status: 429, ...retryAfter(view, '1') })),
  faulty('overloaded', (view) => ({ kind: 'status', status: 529, ...retryAfter(view, '') })),
  faulty('http-error', (view) => ({
    kind: 'status',
    status: view.param('status', 500),
    message: view.param('message', 'The script answers with an error.'),
    ...retryAfter(view, ''),
  })),
  faulty('cut-stream', (view) => ({
    kind: 'cut',
    afterPieces: view.param('afterPieces', 2),
    clean: view.param('clean', false),
  })),
  faulty('error-event', (view) => ({
    kind: 'error-event',
    type: view.param('type', 'overloaded_error'),
    afterPieces: view.param('afterPieces', 2),
  })),
  faulty('hang', (view) =>
    view.params.afterPieces === undefined
      ? { kind: 'hang' }
      : { kind: 'hang', afterPieces: view.param('afterPieces', 0) },
  ),
  faulty('empty', () => ({ kind: 'empty' })),
  defineScript({ name: 'refusal', answer: () => ({ stop: 'refusal' }) }),
];
