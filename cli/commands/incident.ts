import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import type { Command } from 'commander';
import { StewardError } from '#domain/errors.ts';
import { GetBlastRadiusResponseSchema } from '#gen/steward/incident/v1/incident_service_pb.ts';
import { verifyBundle } from '#platform/identity/incident-bundles.ts';
import { action } from '../action.ts';
import { documentText } from '../document.ts';
import { EXIT } from '../exit-codes.ts';
import { moment } from '../input.ts';
import { blastLines } from '../render/incident.ts';
import { visible } from '../render/text.ts';
import { print } from '../terminal.ts';

const LONGEST_MS = 10 * 60_000;

/** Adds `incident` and its commands. */
export function addIncident(program: Command): void {
  const incident = program
    .command('incident')
    .summary('secure evidence, and see what was touched')
    .description('For the hours after something went wrong: evidence of a run, and what runs have touched.');
  addSnapshot(incident);
  addVerify(incident);
  addBlastRadius(incident);
}

function addSnapshot(parent: Command): void {
  parent
    .command('snapshot')
    .summary('everything on record of a run, signed')
    .description(
      'Writes all that is on record of a run to one file of JSON lines, signed as a whole: agent and prompt, conversation, ' +
        'calls, verdicts, approvals, costs, events, undos, audit entries. Nothing stands under its name before it is whole.',
    )
    .argument('<run>', 'run id')
    .option('--out <file>', 'where to (default: incident-<run>.jsonl)')
    .action(
      action<{ readonly out?: string }>(async (session, { out }, [runId = '']) => {
        const path = out ?? `incident-${runId}.jsonl`;
        const draft = `${path}.${randomUUID()}.part`;
        const file = await open(draft, 'wx', 0o600);
        let [bytes, lines] = [0, 0];
        try {
          for await (const part of session.incidents.snapshotRun({ runId }, { deadlineMs: LONGEST_MS })) {
            await file.write(part.lines);
            bytes += part.lines.length;
            lines += part.lines.reduce((sum, byte) => sum + (byte === 10 ? 1 : 0), 0);
          }
          await file.sync();
          await file.close();
          await rename(draft, path);
        } catch (error) {
          await file.close().catch(() => undefined);
          await rm(draft, { force: true });
          throw error;
        }
        print(
          session.json
            ? [documentText({ file: path, lines, bytes })]
            : [
                `${lines} lines, ${bytes} bytes: ${visible(path)}`,
                `Check it anywhere: ${session.command} incident verify ${visible(path)} --keys <run-api's public keys>`,
              ],
        );
        return undefined;
      }),
    );
}

function addVerify(parent: Command): void {
  parent
    .command('verify')
    .summary('check the signature of a bundle')
    .description('Checks that a bundle is as it was signed. Needs no server: the file, and run-api’s public keys.')
    .argument('<file>', 'a bundle')
    .requiredOption('--keys <source>', 'file or URL of the JWKS with run-api’s public keys')
    .action(
      action<{ readonly keys: string }>(async (session, { keys }, [file = '']) => {
        const found = await readBundle(file);
        const signed = await verifyBundle(keys, found.signature);
        const whole = signed.digest === found.digest && signed.lines === found.lines;
        const facts = { ...signed, takenAt: signed.takenAt.toISOString(), unchanged: whole };
        print(
          session.json
            ? [documentText(facts)]
            : [
                whole
                  ? `Unchanged: run ${visible(signed.run)} of ${visible(signed.tenant)}, ${signed.lines} lines`
                  : `CHANGED since it was signed: run ${visible(signed.run)} of ${visible(signed.tenant)}`,
                `Taken by ${visible(signed.takenBy)} at ${facts.takenAt}`,
              ],
        );
        return whole ? EXIT.ok : EXIT.failed;
      }),
    );
}

/** The digest of all lines but the last, and the signature in that. Throws INVALID_REQUEST where there is none. */
async function readBundle(file: string): Promise<{ digest: string; lines: number; signature: string }> {
  const hash = createHash('sha256');
  let [lines, last] = [0, undefined as string | undefined];
  try {
    for await (const line of createInterface({ input: createReadStream(file), crlfDelay: Number.POSITIVE_INFINITY })) {
      if (last !== undefined) {
        hash.update(`${last}\n`);
        lines += 1;
      }
      last = line;
    }
  } catch (cause) {
    throw new StewardError('INVALID_REQUEST', `${file} cannot be read. Check the path.`, { cause });
  }
  try {
    const { signature } = JSON.parse(last ?? '') as { signature?: unknown };
    if (typeof signature === 'string') return { digest: hash.digest('hex'), lines, signature };
  } catch {}
  throw new StewardError('INVALID_REQUEST', `${file} does not end in a signature: it is no bundle, or not all of one.`);
}

interface BlastOptions {
  readonly from: Date;
  readonly to?: Date;
  readonly agent?: string;
  readonly tool?: string;
  readonly user?: string;
  readonly run?: string;
}

function addBlastRadius(parent: Command): void {
  parent
    .command('blast-radius')
    .summary('what runs have touched')
    .description(
      'Which records and outside systems runs have changed over a span of time, and what of it can be undone.',
    )
    .requiredOption('--from <when>', 'calls that began at or after: 2h, 7d, or a date', moment)
    .option('--to <when>', 'calls that began before: 2h, 7d, or a date (default: now)', moment)
    .option('--agent <name>', 'only runs of this agent')
    .option('--tool <name>', 'only calls of this tool')
    .option('--user <subject>', 'only runs for this user')
    .option('--run <id>', 'only this run')
    .action(
      action<BlastOptions>(async (session, { from, to = new Date(), agent = '', tool = '', user = '', run = '' }) => {
        const call = session.incidents.getBlastRadius({
          from: timestampFromDate(from),
          to: timestampFromDate(to),
          agent,
          tool,
          actingUser: user,
          runId: run,
        });
        const answer = await session.wait('Looking at what was touched', call);
        session.show(GetBlastRadiusResponseSchema, answer, () => blastLines(answer, session));
        return undefined;
      }),
    );
}
