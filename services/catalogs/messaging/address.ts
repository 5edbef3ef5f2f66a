import { domainToASCII } from 'node:url';

/**
 * What a person types: an unquoted local part of harmless characters. `%`, `!` and quoted parts are left out, because
 * some relays read a route out of them.
 */
const LOCAL = /^[a-z0-9_][a-z0-9_+&'=~-]*(\.[a-z0-9_+&'=~-]+)*$/;
const DOMAIN = /^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]$/;
/** What `domainToASCII` would decode, cut or take for an address literal. */
const ODD_IN_DOMAIN = /[\s%/\\?#@:[\]<>()";,\p{C}]/u;

/** A mailbox in the one spelling it is compared and sent in. */
export interface Address {
  /** Lower case, its domain in ASCII. */
  readonly address: string;
  readonly domain: string;
}

/** Reads a plain address, `kim@client.example`; null where the text is none. */
export function parseAddress(text: string): Address | null {
  const at = text.lastIndexOf('@');
  const local = text.slice(0, Math.max(0, at)).toLowerCase();
  if (local.length > 64 || !LOCAL.test(local)) return null;
  const domain = normalDomain(text.slice(at + 1));
  const address = `${local}@${domain}`;
  return domain === null || address.length > 254 ? null : { address, domain };
}

/** A host name in lower-case ASCII (`xn--…` where it has other letters); null where the text is none. */
export function normalDomain(text: string): string | null {
  if (text.length > 253 || ODD_IN_DOMAIN.test(text)) return null;
  const domain = domainToASCII(text).toLowerCase();
  return domain.length <= 253 && DOMAIN.test(domain) ? domain : null;
}
