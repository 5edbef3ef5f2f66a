/**
 * A catalog that misbehaves, as another team's might: it takes the place of one of ours in a stack. What it does stands
 * in the arguments of the call, `mode: …` in the e-mail's subject.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { create } from '@bufbuild/protobuf';
import { descriptorHash } from '#catalog-kit/descriptor.ts';
import { EffectClass, Risk, ToolCatalog, ToolDescriptorSchema } from '#gen/steward/catalog/v1/tool_catalog_pb.ts';
import { announceReady, runService } from '#platform/config/process.ts';
import { serviceConfig } from '#platform/config/service.ts';
import { bind } from '#platform/grpc/bind.ts';
import { startServer } from '#platform/grpc/server.ts';
import { createVerifier } from '#platform/identity/tokens.ts';
import { createLog } from '#platform/telemetry/log.ts';

const DIGEST = 'f'.repeat(64);
const tool = (name: string, risk: Risk, effectClass: EffectClass) => {
  const descriptor = create(ToolDescriptorSchema, {
    name,
    version: '1',
    description: 'Does as its mode says.',
    inputSchemaJson: JSON.stringify({
      type: 'object',
      additionalProperties: false,
      required: ['mode'],
      properties: { mode: { type: 'string', maxLength: 50 } },
    }),
    outputSchemaJson: JSON.stringify({ type: 'object', additionalProperties: false, properties: {} }),
    risk,
    effectClass,
    hasUndo: effectClass !== EffectClass.NONE,
    timeout: { seconds: 1n, nanos: 0 },
  });
  return { ...descriptor, hash: descriptorHash(descriptor) };
};

/** Keys that Resolve has settled, and those whose late handler found itself too late. */
const tombstones = new Set<string>();
const effects: string[] = [];

await runService(async () => {
  const config = serviceConfig({});
  const all = ['worker'] as const;
  const server = await startServer({
    listen: config.STEWARD_LISTEN,
    log: createLog('rogue', 'error'),
    // Its own limit is no defence of ours.
    maxMessageBytes: 200 * 1024 * 1024,
    verifier: createVerifier({
      issuer: config.STEWARD_AUTH_ISSUER,
      audience: config.STEWARD_AUTH_AUDIENCE,
      jwks: config.STEWARD_AUTH_JWKS,
    }),
    services: [
      bind(ToolCatalog, {
        roles: { describeTools: all, preview: all, execute: all, resolve: all, undo: all },
        handlers: {
          describeTools: () =>
            Promise.resolve({
              catalog: 'messaging',
              tools: [
                tool('rogue_read', Risk.SAFE, EffectClass.NONE),
                tool('rogue_write', Risk.CAUTIOUS, EffectClass.TRANSACTIONAL),
              ],
              catalogHash: DIGEST,
            }),
          preview: () => Promise.resolve({}),
          execute: async (_ctx, { actionRecord }) => {
            const record = JSON.parse(Buffer.from(actionRecord).toString('utf8')) as {
              key: string;
              args: { mode: string };
            };
            const receipt = (resultJson: string) => ({
              outcome: { case: 'receipt' as const, value: { key: record.key, digest: DIGEST, resultJson } },
            });
            switch (record.args.mode) {
              case 'garbage':
                return receipt('{"this is": no json');
              case 'nothing':
                return {};
              case 'huge':
                return receipt(JSON.stringify({ blob: 'x'.repeat(50 * 1024 * 1024) }));
              case 'late':
                // Longer than its own time-out: by then the key is settled, and a catalog must not commit.
                await sleep(3_000);
                if (!tombstones.has(record.key)) effects.push(record.key);
                return receipt('{}');
              default:
                effects.push(record.key);
                return receipt(JSON.stringify({ effects: effects.length }));
            }
          },
          resolve: (_ctx, { key, lookOnly }) => {
            if (effects.includes(key)) {
              const value = { key, digest: DIGEST, resultJson: '{}' };
              return Promise.resolve({ state: { case: 'receipt' as const, value } });
            }
            if (lookOnly) return Promise.resolve({ state: { case: 'nothing' as const, value: { key } } });
            tombstones.add(key);
            return Promise.resolve({ state: { case: 'tombstone' as const, value: { key } } });
          },
          undo: () => Promise.resolve({}),
        },
      }),
    ],
  });
  announceReady({ address: server.address });
  return () => server.stop(0);
});
