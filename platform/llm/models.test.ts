import { expect, test } from '@jest/globals';
import { priceRow } from '#domain/pricing.ts';
import { findModel, MODELS, requireModel } from './models.ts';

test('every known model is priced and has room for an answer', () => {
  for (const model of MODELS) {
    expect(priceRow(model.id, new Date()).model).toBe(model.id);
    expect(model.maxOutput).toBeLessThan(model.contextWindow);
  }
  expect(new Set(MODELS.map((model) => model.id)).size).toBe(MODELS.length);
});

test('an unknown model is refused by name, with the known ones', () => {
  expect(findModel('claude-next')).toBeUndefined();
  expect(requireModel('offline-1').provider).toBe('offline');
  expect(() => requireModel('claude-next')).toThrow(/"claude-next" is not known.*offline-1/);
});
