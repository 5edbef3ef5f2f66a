/** The person of a local environment who may do everything a person can. */
export const LOCAL_PERSON = {
  tenant: 'acme',
  subject: 'olga@acme.example',
  roles: ['operator', 'approver', 'admin'],
} as const;
