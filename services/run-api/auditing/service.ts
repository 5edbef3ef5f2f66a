import { AuditService } from '#gen/steward/audit/v1/audit_service_pb.ts';
import { type BoundService, bind } from '#platform/grpc/bind.ts';
import type { Role } from '#platform/identity/principal.ts';
import type { RunApiDeps } from '../deps.ts';
import { eraseAudit } from '../rpc/erase-audit.ts';
import { exportAudit } from '../rpc/export-audit.ts';
import { searchAudit } from '../rpc/search-audit.ts';
import { verifyAudit } from '../rpc/verify-audit.ts';

const AUDITORS: readonly Role[] = ['auditor', 'admin'];

/** The audit log. */
export function auditService(deps: RunApiDeps): BoundService {
  return bind(AuditService, {
    roles: { searchAudit: AUDITORS, exportAudit: AUDITORS, verifyAudit: AUDITORS, eraseAudit: ['admin'] },
    handlers: {
      searchAudit: (ctx, request) => searchAudit(ctx, deps, request),
      exportAudit: (ctx) => exportAudit(ctx, deps),
      eraseAudit: (ctx, request) => eraseAudit(ctx, deps, request),
      verifyAudit: (ctx) => verifyAudit(ctx, deps),
    },
  });
}
