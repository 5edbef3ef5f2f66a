import { expect, test } from '@jest/globals';
import { MOST_MESSAGES, MOST_UNREAD, unreadOf, whyNoMessage } from './messages.ts';

test('a run takes messages until too many wait, or it was sent all it takes', () => {
  expect(whyNoMessage({ sent: 0, read: 0 })).toBeNull();
  expect(whyNoMessage({ sent: MOST_UNREAD - 1, read: 0 })).toBeNull();
  expect(whyNoMessage({ sent: MOST_UNREAD, read: 0 })).toContain('20 messages wait unread');
  expect(whyNoMessage({ sent: MOST_UNREAD, read: 1 })).toBeNull();
  expect(whyNoMessage({ sent: MOST_MESSAGES - 1, read: MOST_MESSAGES - 1 })).toBeNull();
  expect(whyNoMessage({ sent: MOST_MESSAGES, read: MOST_MESSAGES })).toContain('all a run takes');
});

test('what was sent and not read waits', () => {
  expect(unreadOf({ sent: 3, read: 1 })).toBe(2);
  expect(unreadOf({ sent: 3, read: 3 })).toBe(0);
});
