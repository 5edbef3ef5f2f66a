/** The mailbox of the local mail server: one file, one JSON line per message. */

import { open, readFile } from 'node:fs/promises';

/** One message as it is kept. */
export interface StoredMail {
  /** Without its angle brackets; empty where the message has none. */
  readonly messageId: string;
  readonly from: string;
  /** Recipients of the envelope. */
  readonly to: readonly string[];
  readonly subject: string;
  readonly body: string;
  /** ISO 8601. */
  readonly at: string;
}

/** File beside the mailbox that notes messages which were there already. */
export function suppressedFile(file: string): string {
  return `${file}.suppressed.jsonl`;
}

/** The messages of a mailbox, in the order they came; none where the file does not exist. */
export async function readMail(file: string): Promise<readonly StoredMail[]> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
  const whole = text.slice(0, text.lastIndexOf('\n') + 1);
  return whole
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as StoredMail);
}

export interface Mailbox {
  /** Keeps a message, on disk once this resolves. False where a message with its id is there already. */
  keep(mail: StoredMail): Promise<boolean>;
  close(): Promise<void>;
}

/** Opens a mailbox for appending; a line that a crash cut off, which nobody was told of, is removed. */
export async function openMailbox(file: string): Promise<Mailbox> {
  const kept = await open(file, 'a+', 0o600);
  const suppressed = await open(suppressedFile(file), 'a', 0o600);
  const bytes = await kept.readFile();
  const whole = bytes.lastIndexOf(0x0a) + 1;
  if (whole < bytes.length) await kept.truncate(whole);
  const known = new Set((await readMail(file)).map((mail) => mail.messageId).filter((id) => id !== ''));
  let last: Promise<unknown> = Promise.resolve();
  const keep = async (mail: StoredMail): Promise<boolean> => {
    const repeated = known.has(mail.messageId);
    const to = repeated ? suppressed : kept;
    await to.appendFile(`${JSON.stringify(mail)}\n`);
    await to.datasync();
    if (mail.messageId !== '') known.add(mail.messageId);
    return !repeated;
  };
  return {
    // One after the other, so that two of the same message at once are told apart.
    keep(mail) {
      const done = last.then(() => keep(mail));
      last = done.catch(() => undefined);
      return done;
    },
    async close() {
      await last;
      await kept.close();
      await suppressed.close();
    },
  };
}
