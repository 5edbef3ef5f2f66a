import { readdir, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { SUMMARY_MARK } from '#domain/context.ts';
import type { ConversationView } from './conversation.ts';
import { defineScript, type Script, ScriptError } from './script.ts';
import { summary } from './scripts/plain.ts';

const MARKER = /^\s*script:\s*([a-z0-9-]+)\s*$/m;

/**
 * The script of a conversation: the one named by a line `script: <name>` in the first user message, else in the system
 * prompt, else the one whose `match` claims it. A request for a summary is answered by one script for all. Throws ScriptError where that is none or more than one.
 */
export function choose(scripts: readonly Script[], view: ConversationView): Script {
  if (view.lastUserText.includes(SUMMARY_MARK)) return summary;
  const named = MARKER.exec(view.firstUserText)?.[1] ?? MARKER.exec(view.system)?.[1];
  const names = scripts.map((script) => script.name).join(', ');
  if (named !== undefined) {
    const script = scripts.find((candidate) => candidate.name === named);
    if (script === undefined) throw new ScriptError(`no script "${named}"; there are: ${names}`);
    return script;
  }
  const claims = scripts.filter((script) => script.match?.(view) === true);
  const [only] = claims;
  if (only !== undefined && claims.length === 1) return only;
  if (claims.length > 1) {
    throw new ScriptError(`several scripts claim this conversation: ${claims.map((script) => script.name).join(', ')}`);
  }
  const start = JSON.stringify(view.firstUserText.slice(0, 80));
  throw new ScriptError(`no script for ${start}; name one in a line "script: <name>" (there are: ${names})`);
}

/** Puts lists of scripts together. Throws ScriptError where two have one name. */
export function together(...lists: readonly (readonly Script[])[]): readonly Script[] {
  const all = lists.flat();
  const twice = all.find((script, at) => all.findIndex((other) => other.name === script.name) !== at);
  if (twice !== undefined) throw new ScriptError(`there are two scripts named "${twice.name}"`);
  return all;
}

/**
 * Loads the scripts that the modules at `paths` export under any name. A folder stands for the `.ts`, `.js` and `.mjs`
 * files in it, tests aside. Throws ScriptError, naming the path, where a module exports none.
 */
export async function loadScripts(paths: readonly string[]): Promise<readonly Script[]> {
  const scripts: Script[] = [];
  for (const path of paths) {
    for (const file of await filesAt(resolve(path))) scripts.push(...(await scriptsOf(file)));
  }
  return scripts;
}

async function filesAt(path: string): Promise<readonly string[]> {
  const found = await stat(path).catch((cause: unknown) => {
    throw new ScriptError(`there are no scripts at ${path}`, { cause });
  });
  if (!found.isDirectory()) return [path];
  const names = (await readdir(path)).filter((name) => /\.(ts|js|mjs)$/.test(name) && !/\.(test|d)\.ts$/.test(name));
  return names.sort().map((name) => join(path, name));
}

async function scriptsOf(file: string): Promise<readonly Script[]> {
  const module = (await import(pathToFileURL(file).href)) as Record<string, unknown>;
  const scripts = Object.values(module).flat().filter(isScript).map(defineScript);
  if (scripts.length === 0)
    throw new ScriptError(`${file} exports no script: an object with a name and answer or turns`);
  return scripts;
}

function isScript(value: unknown): value is Script {
  const script = value as Partial<Script> | null;
  return typeof script === 'object' && typeof script?.name === 'string' && ('answer' in script || 'turns' in script);
}
