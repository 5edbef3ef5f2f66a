import type { Usage } from './conversation.ts';
import { StewardError } from './errors.ts';
import { PRICE_ROWS, type PriceRow, type Prices } from './prices.ts';

/** Prices are per million tokens, so a product of tokens and price is in millionths of a micro-USD. */
const PER_MILLION = 1_000_000n;

const FIELDS = ['input', 'output', 'cacheRead', 'cacheWrite', 'reasoning'] as const satisfies (keyof Usage)[];

/**
 * The row that prices `model` at `at`: the newest one that had begun. Throws MODEL_UNKNOWN where there is none, since
 * an unpriced call could not be kept inside a budget.
 */
export function priceRow(model: string, at: Date): PriceRow {
  const known = PRICE_ROWS.filter((row) => row.model === model);
  const row = known.findLast((candidate) => Date.parse(`${candidate.from}T00:00:00Z`) <= at.getTime());
  if (row !== undefined) return row;
  const first = known[0];
  throw new StewardError(
    'MODEL_UNKNOWN',
    first === undefined
      ? `Model "${model}" has no price. Use a model that Steward knows, or add its price to domain/prices.ts.`
      : `Model "${model}" is priced from ${first.from} on; ${at.toISOString()} is before that.`,
    { details: { model } },
  );
}

/** What `usage` costs in micro-USD, an integer rounded up. Throws MODEL_UNKNOWN, and INTERNAL for impossible counts. */
export function priceOf(model: string, usage: Usage, at: Date): number {
  const row = priceRow(model, at);
  const prompt = usage.input + usage.cacheRead + usage.cacheWrite;
  const prices =
    row.longPrompt !== undefined && prompt > row.longPrompt.aboveTokens ? row.longPrompt.prices : row.prices;
  return roundedUp(FIELDS.reduce((sum, field) => sum + cost(usage[field], prices[field]), 0n));
}

/**
 * The most a call can cost in micro-USD when its prompt has at most `inputTokens` and its answer at most
 * `maxOutputTokens`: every input token at the dearest of the input prices. Never below `priceOf` within those bounds.
 */
export function worstCase(model: string, inputTokens: number, maxOutputTokens: number, at: Date): number {
  const worst = worstPrices(priceRow(model, at), inputTokens);
  return roundedUp(cost(inputTokens, worst.input) + cost(maxOutputTokens, worst.output));
}

/**
 * The largest `maxOutputTokens` whose worst case is within `remainderMicroUsd`; 0 where not even the input is. Not
 * capped by what the model can write: that is the caller's to do.
 */
export function affordableOutput(model: string, inputTokens: number, remainderMicroUsd: number, at: Date): number {
  const worst = worstPrices(priceRow(model, at), inputTokens);
  const left = cost(count(Math.max(0, Math.floor(remainderMicroUsd))), 1_000_000) - cost(inputTokens, worst.input);
  if (left <= 0n) return 0;
  const tokens = left / BigInt(worst.output);
  return tokens > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(tokens);
}

function worstPrices(row: PriceRow, inputTokens: number): { readonly input: number; readonly output: number } {
  const candidates: Prices[] = [row.prices];
  if (row.longPrompt !== undefined && inputTokens > row.longPrompt.aboveTokens) candidates.push(row.longPrompt.prices);
  return {
    input: Math.max(...candidates.flatMap((prices) => [prices.input, prices.cacheRead, prices.cacheWrite])),
    output: Math.max(...candidates.map((prices) => prices.output + prices.reasoning)),
  };
}

function cost(tokens: number, price: number): bigint {
  return BigInt(count(tokens)) * BigInt(price);
}

function count(tokens: number): number {
  if (Number.isSafeInteger(tokens) && tokens >= 0) return tokens;
  throw new StewardError('INTERNAL', `A count of tokens must be a whole number from 0 on; this is ${tokens}.`);
}

function roundedUp(millionths: bigint): number {
  return Number((millionths + PER_MILLION - 1n) / PER_MILLION);
}
