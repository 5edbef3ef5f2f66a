import { domainToASCII } from 'node:url';
import { refuse } from '#catalog-kit/refusal.ts';

/**
 * What people's addresses look like. `%`, `!`, `/` and quoted parts are left out, because some mail servers read a route,
 * a file or a program out of them.
 */
const LOCAL = /^[a-z0-9_][a-z0-9_+&'=~-]*(\.[a-z0-9_+&'=~-]+)*$/;
const DOMAIN = /^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]$/;
/** What `domainToASCII` would decode, cut off or take for part of a URL. */
const ODD_IN_DOMAIN = /[\s%/\\?#@:[\]<>()";,\p{C}]/u;

/** A mailbox in the one spelling that is compared, shown and sent to. */
export interface Recipient {
  /** Lower case, its domain as below. */
  readonly address: string;
  /** As DNS knows it: lower case, international names in their xn-- form. */
  readonly domain: string;
}

/** Reads one address; null for anything that is not plainly `local@domain`. */
export function readAddress(text: string): Recipient | null {
  const at = text.lastIndexOf('@');
  const local = text.slice(0, Math.max(0, at)).toLowerCase();
  if (local.length > 64 || !LOCAL.test(local)) return null;
  const domain = readDomain(text.slice(at + 1));
  const address = `${local}@${domain}`;
  return domain === null || address.length > 254 ? null : { address, domain };
}

function readDomain(text: string): string | null {
  if (text.length > 253 || ODD_IN_DOMAIN.test(text)) return null;
  const domain = domainToASCII(text).toLowerCase();
  return domain.length <= 253 && DOMAIN.test(domain) ? domain : null;
}

/** The recipients of a mail, each once. Refuses with RECIPIENT_INVALID what is no plain address. */
export function readRecipients(to: readonly string[]): readonly Recipient[] {
  const byAddress = new Map<string, Recipient>();
  for (const text of to) {
    const recipient = readAddress(text);
    if (recipient === null) {
      throw refuse(
        'RECIPIENT_INVALID',
        `${JSON.stringify(text.slice(0, 100))} is no plain e-mail address like dana@example.org: ` +
          'no names, quotes or routes are taken.',
      );
    }
    byAddress.set(recipient.address, recipient);
  }
  return [...byAddress.values()];
}

/** The domains of recipients, each once. */
export function domainsOf(recipients: readonly Recipient[]): readonly string[] {
  return [...new Set(recipients.map(({ domain }) => domain))];
}

/** Refuses with RECIPIENT_NOT_ALLOWED where a domain is not exactly one of the allowed ones. */
export function requireAllowed(recipients: readonly Recipient[], allowed: ReadonlySet<string>): void {
  const outside = domainsOf(recipients).filter((domain) => !allowed.has(domain));
  if (outside.length === 0) return;
  throw refuse(
    'RECIPIENT_NOT_ALLOWED',
    `Mail may not go to ${outside.join(', ')}: this organisation does not allow it. Nothing was sent. ` +
      'Only the operators of the messaging catalog can allow a domain.',
  );
}
