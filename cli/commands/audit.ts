import { createReadStream } from 'node:fs';
import { open, readFile, rename, rm } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import { type Command, Option } from 'commander';
import { StewardError } from '#domain/errors.ts';
import { SearchAuditResponseSchema } from '#gen/steward/audit/v1/audit_service_pb.ts';
import { linesOf, parseKeySet, readAnchors } from '#platform/audit/anchors.ts';
import { recordOf } from '#platform/audit/export.ts';
import { type ChainRecord, type Verified, verifyChain } from '#platform/audit/verify.ts';
import { action } from '../action.ts';
import { documentText } from '../document.ts';
import { EXIT } from '../exit-codes.ts';
import { moment, whole } from '../input.ts';
import { AUDIT_CSV_HEAD, auditCsv, auditTable } from '../render/audit.ts';
import { visible } from '../render/text.ts';
import { canAsk, confirm, print } from '../terminal.ts';

const LONGEST_MS = 60 * 60_000;

/** Adds `audit` and its commands. */
export function addAudit(program: Command): void {
  const audit = program
    .command('audit')
    .summary('search, export and verify the audit log')
    .description('The record of every decision and effect, chained so that tampering shows.');
  addSearch(audit);
  addExport(audit);
  addVerify(audit);
  audit
    .command('erase')
    .summary('erase a person from the log')
    .description(
      'Empties what names or quotes a person: entries by them, about runs for them, or with their name in the data. The ' +
        'chain stays whole. It cannot be undone.',
    )
    .argument('<subject>', 'whom, as tokens name them')
    .requiredOption('--reason <text>', 'why, for the record; must not name them')
    .option('--yes', 'do not ask')
    .action(
      action<{ readonly reason: string; readonly yes?: true }>(async (session, { reason, yes }, [subject = '']) => {
        if (yes !== true && !(canAsk() && (await confirm(`Erase ${visible(subject)} for good?`)))) {
          throw new StewardError('INVALID_REQUEST', 'Nothing was erased. Add --yes once you are sure.');
        }
        let [entries, more] = [0n, true];
        // Each call takes up to two million entries.
        for (let calls = 0; more && calls < 100; calls += 1) {
          const answer = await session.audit.eraseAudit({ subject, reason }, { deadlineMs: LONGEST_MS });
          [entries, more] = [entries + answer.entries, answer.more];
        }
        print(session.json ? [documentText({ entries: String(entries) })] : [`${entries} entries emptied.`]);
        return undefined;
      }),
    );
}

interface SearchOptions {
  readonly run?: string;
  readonly actor?: string;
  readonly tool?: string;
  readonly action?: string;
  readonly from?: Date;
  readonly to?: Date;
  readonly limit: number;
  readonly pageToken?: string;
}

function addSearch(parent: Command): void {
  parent
    .command('search')
    .summary('find entries')
    .description('Lists entries that fit all that is named, newest first.')
    .option('--run <run>', 'of this run')
    .option('--actor <subject>', 'by this person or service')
    .option('--tool <tool>', 'about this tool')
    .option('--action <action>', 'what happened, for example call.effect or approval.approve')
    .option('--from <when>', 'at or after: 2h, 7d, or a date', moment)
    .option('--to <when>', 'before', moment)
    .option('--limit <n>', 'at most so many', whole(1, 200), 50)
    .option('--page-token <token>', 'go on where an earlier page ended')
    .action(
      action<SearchOptions>(async (session, { run = '', from, to, limit, pageToken = '', ...rest }) => {
        const { actor = '', tool = '', action: what = '' } = rest;
        const answer = await session.wait(
          'Waiting for run-api',
          session.audit.searchAudit({
            ...{ runId: run, actor, tool, action: what, pageSize: limit, pageToken },
            ...(from === undefined ? {} : { from: timestampFromDate(from) }),
            ...(to === undefined ? {} : { to: timestampFromDate(to) }),
          }),
        );
        session.show(SearchAuditResponseSchema, answer, () =>
          answer.entries.length === 0 ? ['Nothing fits.'] : auditTable(answer.entries, session.look),
        );
        if (answer.nextPageToken !== '') session.remark(`More: add --page-token ${answer.nextPageToken}`);
        return undefined;
      }),
    );
}

function addExport(parent: Command): void {
  parent
    .command('export')
    .summary('write the sealed log to a file')
    .description(
      'Writes the whole sealed chain in its order. JSON Lines can be verified with no server; CSV is for reading. ' +
        'Nothing stands under its final name before all of it is written.',
    )
    .addOption(new Option('--format <format>', 'jsonl or csv').choices(['jsonl', 'csv']).default('jsonl'))
    .requiredOption('--out <file>', 'where to')
    .action(
      action<{ readonly format: string; readonly out: string }>(async (session, { format, out }) => {
        const draft = `${out}.part`;
        const file = await open(draft, 'wx', 0o600);
        let entries = 0;
        try {
          if (format === 'csv') await file.write(`${AUDIT_CSV_HEAD}\n`);
          let begun = '';
          for await (const part of session.audit.exportAudit({}, { deadlineMs: LONGEST_MS })) {
            const lines = part.lines.map((line, at) => (at === 0 ? begun + line : line));
            begun = part.goesOn ? (lines.pop() ?? '') : '';
            if (lines.length === 0) continue;
            const texts =
              format === 'csv' ? lines.map((line, at) => auditCsv(recordOf(line, entries + at + 1))) : lines;
            await file.write(`${texts.join('\n')}\n`);
            entries += lines.length;
          }
          await file.sync();
          await file.close();
          await rename(draft, out);
        } catch (error) {
          await file.close().catch(() => undefined);
          await rm(draft, { force: true });
          throw error;
        }
        print(session.json ? [documentText({ entries, file: out })] : [`${entries} entries: ${visible(out)}`]);
        return undefined;
      }),
    );
}

interface VerifyOptions {
  readonly file?: string;
  readonly anchors?: string;
  readonly key?: string;
}

function addVerify(parent: Command): void {
  parent
    .command('verify')
    .summary('check that nobody tampered with the log')
    .description(
      'Checks the whole chain. With --file it checks an export, and needs no server; name the anchors and the key then, ' +
        'without which a cut tail and a chain written anew cannot be seen.',
    )
    .option('--file <file>', 'an export in JSON Lines')
    .option('--anchors <file>', "the tenant's file of anchors")
    .option('--key <file>', 'the JWKS with the public key that signs anchors')
    .action(
      action<VerifyOptions>(async (session, options) => {
        const found =
          options.file === undefined ? await asked(session) : await read({ ...options, file: options.file });
        print(session.json ? [documentText({ ...found, damage: [...found.damage] })] : reportOf(found));
        return found.damage.length > 0 || found.anchorTrouble !== '' ? EXIT.failed : undefined;
      }),
    );
}

type Found = Verified & { readonly anchorsKnown: boolean; readonly anchorTrouble: string };

async function asked(session: Parameters<Parameters<typeof action>[0]>[0]): Promise<Found> {
  const answer = await session.audit.verifyAudit({}, { deadlineMs: LONGEST_MS });
  return {
    entries: Number(answer.entries),
    last: Number(answer.last),
    anchored: Number(answer.anchored),
    pruned: Number(answer.pruned),
    erased: Number(answer.erased),
    anchorsKnown: answer.anchorsKnown,
    anchorTrouble: answer.anchorTrouble,
    damage: answer.damage.map((one) => ({
      class: one.class as Found['damage'][number]['class'],
      number: Number(one.number),
      detail: one.detail,
    })),
  };
}

async function read({ file, anchors: path, key }: VerifyOptions & { readonly file: string }): Promise<Found> {
  if ((path === undefined) !== (key === undefined)) {
    throw new StewardError('INVALID_REQUEST', 'Anchors are checked with a key: name both --anchors and --key.');
  }
  const tenant = await tenantOf(file);
  const known = path !== undefined && key !== undefined;
  const { anchors, unknown } = known
    ? readAnchors(linesOf(await readFile(path, 'utf8')), parseKeySet(await readFile(key, 'utf8')), tenant)
    : { anchors: [], unknown: 0 };
  if (known && anchors.length === 0) {
    throw new StewardError('INVALID_REQUEST', `No anchor in ${path} is of tenant ${tenant} and signed with this key.`);
  }
  const anchorTrouble =
    unknown > 0 ? `${unknown} anchors are signed by no key that was given, or for another tenant` : '';
  return { ...(await verifyChain(tenant, recordsOf(file), anchors)), anchorsKnown: known, anchorTrouble };
}

/** The tenant that the first record names. */
async function tenantOf(file: string): Promise<string> {
  for await (const { tenant } of recordsOf(file)) return tenant;
  throw new StewardError('INVALID_REQUEST', `${file} holds no entry.`);
}

async function* recordsOf(file: string): AsyncGenerator<ChainRecord> {
  let at = 0;
  for await (const line of createInterface({ input: createReadStream(file, 'utf8') })) {
    at += 1;
    if (line !== '') yield recordOf(line, at);
  }
}

function reportOf({ entries, last, anchored, pruned, erased, anchorsKnown, anchorTrouble, damage }: Found): string[] {
  const size = `${entries} entries up to ${last}, ${erased} erased, ${pruned} pruned`;
  const vouched = anchorsKnown
    ? `Signed anchors vouch for it up to ${anchored}.`
    : 'Without anchors a cut tail and a chain written anew cannot be seen.';
  const trouble = anchorTrouble === '' ? [] : [`NOT VOUCHED FOR: ${visible(anchorTrouble)}.`];
  if (damage.length === 0) {
    return [
      trouble.length > 0 ? `No damage was found: ${size}.` : `Nothing was tampered with: ${size}.`,
      vouched,
      ...trouble,
    ];
  }
  return [
    `TAMPERED WITH: ${size}.`,
    ...damage.map((one) => `  ${one.number}: ${one.class}, ${visible(one.detail)}`),
    vouched,
    ...trouble,
  ];
}
