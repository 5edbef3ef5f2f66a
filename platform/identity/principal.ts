/**
 * What a token's holder may be. `worker` is Steward's own processes, `service` a product's back end, `user` an end user
 * acting for themselves; the others are people of the tenant.
 */
export const ROLES = ['service', 'approver', 'operator', 'admin', 'auditor', 'user', 'worker'] as const;

export type Role = (typeof ROLES)[number];

/** Who is calling, as proven by a verified token. */
export interface Principal {
  /** Empty for workers (their tenants come from run grants) and for callers of open methods; never for anyone else. */
  readonly tenant: string;
  readonly subject: string;
  readonly roles: readonly Role[];
  /** The user a service acts for; null where it, or anyone else, acts for itself. */
  readonly onBehalfOf: string | null;
  readonly expiresAt: Date;
  /**
   * What the user it acts for may do in the catalogs, as the issuer says. Left out: it says nothing, and a run gets what
   * its tools need.
   */
  readonly permissions?: readonly string[];
}

/** Turns a bearer token into its principal, or refuses with TOKEN_MISSING, TOKEN_INVALID, TOKEN_EXPIRED,
 * TOKEN_WRONG_AUDIENCE, or UNAVAILABLE where the keys cannot be had. */
export interface Verifier {
  verify(token: string | undefined): Promise<Principal>;
}

/** Stands for the unnamed caller of a method that is open to all. Has no tenant and no role. */
export const ANONYMOUS: Principal = {
  tenant: '',
  subject: 'anonymous',
  roles: [],
  onBehalfOf: null,
  expiresAt: new Date(8_640_000_000_000_000),
};

/** True for a text that is one of the roles. */
export function isRole(text: string): text is Role {
  return (ROLES as readonly string[]).includes(text);
}
