import { type CatalogOptions, serveCatalog } from '#catalog-kit/serve.ts';
import { grantVariables, serviceConfig } from '#platform/config/service.ts';
import { connect } from '#platform/database/connect.ts';
import { createLog } from '#platform/telemetry/log.ts';
import type { ProjectsTables } from './tables.ts';
import { projectsTools } from './tools/index.ts';

/** The schema of the catalog's tables; its process connects as `steward_projects`. */
export const PROJECTS_SCHEMA = 'projects';

const GRACE_MS = 10_000;

/** What a suite may compose differently; a product changes none of it. */
export type ProjectsParts = Partial<Pick<CatalogOptions<ProjectsTables>, 'receipts' | 'hooks' | 'wrap'>>;

/**
 * Serves the projects catalog as the environment says. Returns where, and how to stop: calls under way get 10 s.
 * Throws INVALID_REQUEST naming every variable that is wrong.
 */
export async function startProjects(
  env: Readonly<Record<string, string | undefined>> = process.env,
  parts: ProjectsParts = {},
): Promise<{ readonly address: string; stop(): Promise<void> }> {
  const config = serviceConfig(grantVariables, env);
  const { db, close } = connect<ProjectsTables>(config.DATABASE_URL, {
    name: 'steward-projects',
    schema: PROJECTS_SCHEMA,
  });
  try {
    const server = await serveCatalog({
      name: 'projects',
      tools: projectsTools,
      db,
      listen: config.STEWARD_LISTEN,
      identity: {
        issuer: config.STEWARD_AUTH_ISSUER,
        audience: config.STEWARD_AUTH_AUDIENCE,
        jwks: config.STEWARD_AUTH_JWKS,
        runGrantJwks: config.STEWARD_RUN_GRANT_JWKS,
        executionGrantJwks: config.STEWARD_EXECUTION_GRANT_JWKS,
      },
      log: createLog('projects', config.STEWARD_LOG_LEVEL),
      reflection: config.STEWARD_REFLECTION,
      ...parts,
    });
    const stop = async () => {
      await server.stop(GRACE_MS);
      await close();
    };
    return { address: server.address, stop };
  } catch (error) {
    await close();
    throw error;
  }
}
