import { connect } from '#platform/database/connect.ts';
import type { Database } from '#platform/database/tables.ts';
import { anchoringFrom, startSealing } from '#services/worker/sealing.ts';

// The worker's sealing, alone in a process: until it is killed.
const [url = '', keyFile, anchors] = process.argv.slice(2);
const { db } = connect<Database>(url, { max: 4, name: 'sealer' });
startSealing({ db, log: { warn: () => undefined }, anchors: await anchoringFrom(keyFile, anchors) });
process.stdout.write('ready\n');
