import { StewardError } from '#domain/errors.ts';

/** Reads `name=host:port,name=host:port`. Throws INVALID_REQUEST, naming the piece that is wrong. */
export function parseCatalogs(text: string): Record<string, string> {
  const catalogs: Record<string, string> = {};
  for (const piece of text.split(',').map((part) => part.trim())) {
    const match = /^([a-z][a-z0-9_-]{0,62})=(\S+:\d{1,5})$/.exec(piece);
    if (!match) {
      throw new StewardError('INVALID_REQUEST', `STEWARD_CATALOGS: "${piece}" must be name=host:port.`);
    }
    const [, name, address] = match as unknown as [string, string, string];
    if (Object.hasOwn(catalogs, name))
      throw new StewardError('INVALID_REQUEST', `STEWARD_CATALOGS names ${name} twice.`);
    catalogs[name] = address;
  }
  return catalogs;
}
