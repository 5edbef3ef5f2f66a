/** Reads what the local mail server shows of a message: plain text, as Steward and most programs send it. */

/** Header fields by lower-case name, decoded, the first of each; and the text. */
export interface MailText {
  readonly headers: ReadonlyMap<string, string>;
  /** Decoded where the message is one part of text; else as it came. Lines end with \n; the last line end is left out. */
  readonly body: string;
}

/** Reads one message in MIME. Never throws: what cannot be decoded stays as it is. */
export function readMailText(raw: Buffer): MailText {
  // One character per byte until the charset is known.
  const text = raw.toString('latin1').replaceAll('\r\n', '\n');
  const end = text.startsWith('\n') ? 0 : text.indexOf('\n\n');
  const head = end === -1 ? text : text.slice(0, end);
  const content = end === -1 ? '' : text.slice(end).replace(/^\n{1,2}/, '');
  const headers = new Map<string, string>();
  for (const line of head.replaceAll(/\n[ \t]+/g, ' ').split('\n')) {
    const colon = line.indexOf(':');
    const name = line.slice(0, colon).trim().toLowerCase();
    if (colon > 0 && !headers.has(name)) headers.set(name, decodeWords(line.slice(colon + 1).trim()));
  }
  return { headers, body: decodeBody(headers, content).replace(/\n$/, '') };
}

function decodeBody(headers: ReadonlyMap<string, string>, content: string): string {
  const type = headers.get('content-type') ?? 'text/plain';
  const charset = /charset="?([^\s";]+)/i.exec(type)?.[1] ?? 'utf-8';
  const encoding = headers.get('content-transfer-encoding')?.toLowerCase();
  if (!/^text\//i.test(type)) return decode(Buffer.from(content, 'latin1'), 'utf-8');
  if (encoding === 'base64') return decode(Buffer.from(content, 'base64'), charset).replaceAll('\r\n', '\n');
  const bytes = encoding === 'quoted-printable' ? unquote(content.replaceAll(/=[ \t]*\n/g, '')) : content;
  return decode(Buffer.from(bytes, 'latin1'), charset).replaceAll('\r\n', '\n');
}

/** RFC 2047: `=?utf-8?Q?caf=C3=A9?=`. */
function decodeWords(value: string): string {
  const word = /=\?([^?\s]+)\?([bq])\?([^?\s]*)\?=/gi;
  return value
    .replaceAll(/(=\?[^?\s]+\?[bq]\?[^?\s]*\?=)\s+(?==\?[^?\s]+\?[bq]\?)/gi, '$1')
    .replaceAll(word, (_all, charset: string, kind: string, data: string) => {
      const base64 = kind.toLowerCase() === 'b';
      return decode(
        base64 ? Buffer.from(data, 'base64') : Buffer.from(unquote(data.replaceAll('_', ' ')), 'latin1'),
        charset,
      );
    });
}

function unquote(text: string): string {
  return text.replaceAll(/=([0-9a-f]{2})/gi, (_all, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

function decode(bytes: Buffer, charset: string): string {
  try {
    return new TextDecoder(charset).decode(bytes);
  } catch {
    return bytes.toString('utf8');
  }
}
