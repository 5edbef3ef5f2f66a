import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type CheckResult, listFiles } from './check-kit.ts';

// Put together here, so that this file does not contain what it looks for.
const MACHINE_FOLDERS = ['work', 'root'].map((name) => `/${name}/`);
const REGISTRY_HOSTS = [
  ['registry', 'npmjs', 'org'],
  ['registry', 'yarnpkg', 'com'],
  ['npm', 'pkg', 'github', 'com'],
  ['proxy', 'golang', 'org'],
  ['sum', 'golang', 'org'],
  ['pypi', 'org'],
  ['files', 'pythonhosted', 'org'],
  ['deb', 'debian', 'org'],
  ['security', 'debian', 'org'],
  ['archive', 'ubuntu', 'com'],
  ['security', 'ubuntu', 'com'],
].map((labels) => labels.join('.'));
const LOCAL_HOSTS = new Set(['localhost', '127.0.0.1', '::1']);
const REGISTRY_VARIABLES = ['npm_config_registry', 'NPM_CONFIG_REGISTRY', 'GOPROXY', 'PIP_INDEX_URL', 'GOSUMDB'];

/** No tracked file names a folder of the machine it was written on, or the host of a package registry. */
export async function checkPrivacy(root: string): Promise<CheckResult> {
  const hosts = [...new Set([...REGISTRY_HOSTS, ...configuredHosts(process.env)])];
  const problems: string[] = [];
  for (const file of await listFiles(root)) {
    const bytes = readFileSync(join(root, file));
    if (bytes.includes(0)) continue;
    problems.push(
      ...findPrivate(bytes.toString('utf8'), hosts).map(({ line, text }) => `${file}:${line} names ${text}`),
    );
  }
  return { problems };
}

/** Where a text names a machine folder or one of the hosts. */
export function findPrivate(text: string, hosts: readonly string[]): { line: number; text: string }[] {
  const escaped = hosts.map((host) => host.replaceAll('.', '\\.'));
  const pattern = new RegExp(
    `(?<![\\w.$}\\])-])(?:${MACHINE_FOLDERS.join('|')})|(?<![\\w.-])(?:${escaped.join('|')})(?![\\w-])`,
    'g',
  );
  return text
    .split('\n')
    .flatMap((line, index) => [...line.matchAll(pattern)].map((match) => ({ line: index + 1, text: match[0] })));
}

/** The registries this machine itself is set up with: their hosts must not get into a file either. */
export function configuredHosts(environment: Record<string, string | undefined>): string[] {
  return REGISTRY_VARIABLES.flatMap((name) => (environment[name] ?? '').split(/[,|\s]/))
    .map((value) => (URL.canParse(value) ? new URL(value).hostname : ''))
    .filter((host) => host.includes('.') && !LOCAL_HOSTS.has(host));
}
