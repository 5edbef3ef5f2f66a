import { domainToASCII } from 'node:url';
import { refuse } from '#catalog-kit/refusal.ts';

const LOCAL = /^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,64}(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,64})*$/;
const DOMAIN = /^[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+$/;

export interface Recipient {
  /** As it is put into the envelope. */
  readonly address: string;
  /** As DNS knows it: lower case, international names in their xn-- form. */
  readonly domain: string;
}

/** Reads one address; null for anything that is not plainly `local@domain`. */
export function readAddress(text: string): Recipient | null {
  const at = text.lastIndexOf('@');
  const local = text.slice(0, at);
  const domain = domainToASCII(text.slice(at + 1).normalize('NFC')).toLowerCase();
  if (at < 1 || local.length > 64 || !LOCAL.test(local) || domain.length > 253 || !DOMAIN.test(domain)) return null;
  return { address: `${local}@${domain}`, domain };
}

/** The recipients of a mail, each once. Refuses with RECIPIENT_INVALID what is no plain address. */
export function readRecipients(to: readonly string[]): readonly Recipient[] {
  const byAddress = new Map<string, Recipient>();
  for (const text of to) {
    const recipient = readAddress(text);
    if (recipient === null) {
      throw refuse('RECIPIENT_INVALID', `${JSON.stringify(text)} is no plain e-mail address like dana@example.org.`);
    }
    byAddress.set(recipient.address.toLowerCase(), recipient);
  }
  return [...byAddress.values()];
}

/** Refuses with RECIPIENT_NOT_ALLOWED where a domain is not exactly one of the tenant's. */
export function requireAllowed(recipients: readonly Recipient[], allowed: ReadonlySet<string>): void {
  const outside = recipients.find((recipient) => !allowed.has(recipient.domain));
  if (outside === undefined) return;
  const may = allowed.size === 0 ? 'nobody' : [...allowed].sort().slice(0, 20).join(', ');
  throw refuse('RECIPIENT_NOT_ALLOWED', `Mail may not go to ${outside.domain}. This tenant allows: ${may}.`);
}
