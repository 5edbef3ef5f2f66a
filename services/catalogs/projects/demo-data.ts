import type { TaskStatus } from './tables.ts';

/** People of the demo, by what they are to it. */
export const DEMO_PEOPLE = {
  ada: 'ada@acme.example',
  ben: 'ben@acme.example',
  olga: 'olga@acme.example',
} as const;

interface DemoTask {
  readonly id: string;
  readonly title: string;
  readonly status: TaskStatus;
  readonly assignee?: string;
  readonly labels?: readonly string[];
  readonly notes?: string;
}

interface DemoProject {
  readonly id: string;
  readonly name: string;
  readonly client_name: string;
  readonly client_email: string;
  readonly members: readonly string[];
  readonly tasks: readonly DemoTask[];
}

const { ada, ben, olga } = DEMO_PEOPLE;
const RELEASE = 'release-2.4';

/** Two projects of ada's, one of them about to be released, and one that is none of hers. */
export const DEMO_PROJECTS: readonly DemoProject[] = [
  {
    id: 'apollo',
    name: 'Apollo',
    client_name: 'Northwind Traders',
    client_email: 'dana@northwind.example',
    members: [ada, ben, olga],
    tasks: [
      task('apl-101', 'Export invoices as CSV', 'in_review', ben, ['merged'], 'Merged on Monday, checked on staging.'),
      task('apl-102', 'Sign-in survives a restart', 'in_review', ada, ['merged', 'security']),
      task('apl-103', 'Search by customer number', 'in_review', ben, ['merged']),
      task(
        'apl-104',
        'Dark mode for the dashboard',
        'in_review',
        olga,
        ['needs-rework'],
        'Contrast fails on the tables.',
      ),
      task('apl-105', 'CSV export of invoices', 'open', undefined, ['reported'], 'This is a duplicate of apl-101.'),
      task(
        'apl-106',
        'Search for customer numbers',
        'open',
        undefined,
        ['reported'],
        'Looks like a duplicate of apl-103.',
      ),
      task('apl-107', 'Release notes for 2.4', 'open', ada, ['docs']),
      task('apl-108', 'Update the price list', 'open', olga, [], 'Waits for the figures of the new year.'),
      task('apl-109', 'Faster start of the importer', 'in_progress', ben, ['performance']),
      task('apl-110', 'Rename customer groups', 'done', ada, ['merged']),
    ],
  },
  {
    id: 'gemini',
    name: 'Gemini',
    client_name: 'Contoso',
    client_email: 'sam@contoso.example',
    members: [ada, olga],
    tasks: [
      task('gem-201', 'Plan the pilot', 'in_progress', olga),
      task('gem-202', 'Draft the data model', 'in_review', ada, ['design']),
      task('gem-203', 'Book a room for the workshop', 'open', ada),
    ],
  },
  {
    id: 'mercury',
    name: 'Mercury',
    client_name: 'Fabrikam',
    client_email: 'lee@fabrikam.example',
    members: [olga],
    tasks: [task('mer-301', 'Renew the contract', 'open', olga, [], 'Confidential.')],
  },
];

function task(
  id: string,
  title: string,
  status: TaskStatus,
  assignee?: string,
  labels: readonly string[] = [],
  notes = '',
): DemoTask {
  const release = id.startsWith('apl-') ? [RELEASE] : [];
  return { id, title, status, ...(assignee === undefined ? {} : { assignee }), labels: [...release, ...labels], notes };
}
