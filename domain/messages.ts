/** What may be said to a run while it runs. Words alone: a message carries no tools, budget, limits or user. */

/** Characters of one message. */
export const LONGEST_MESSAGE = 20_000;
/** Messages that may wait unread in one run. */
export const MOST_UNREAD = 20;
/** Messages one run takes in all. */
export const MOST_MESSAGES = 200;

/** How many messages a run was sent, and up to which of them its model has read. */
export interface MessageCounts {
  readonly sent: number;
  readonly read: number;
}

/** Messages that wait for the next turn. */
export function unreadOf(counts: MessageCounts): number {
  return Math.max(0, counts.sent - counts.read);
}

/** Why a run takes no further message; null where it does. */
export function whyNoMessage(counts: MessageCounts): string | null {
  if (counts.sent >= MOST_MESSAGES) return `It was sent ${counts.sent} messages, which is all a run takes.`;
  if (unreadOf(counts) >= MOST_UNREAD)
    return `${unreadOf(counts)} messages wait unread. Send the next once it goes on.`;
  return null;
}
