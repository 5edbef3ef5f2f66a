/**
 * What each model costs, as dated rows. A price change is a new row, never an edit: what a past run cost must not move.
 */

/** Micro-USD per million tokens, one price per field of `Usage`. One dollar per million tokens is 1,000,000. */
export interface Prices {
  readonly input: number;
  readonly output: number;
  readonly cacheRead: number;
  /** Of the shortest-lived cache, the only one the adapters ask for. */
  readonly cacheWrite: number;
  /** 0 where the provider counts reasoning inside `output`, as Anthropic and OpenAI do. */
  readonly reasoning: number;
}

/** The prices of one model from one day on. */
export interface PriceRow {
  readonly model: string;
  /** First day of validity, UTC, `YYYY-MM-DD`. */
  readonly from: string;
  /** Where the figures were read. */
  readonly source: string;
  readonly prices: Prices;
  /** Dearer prices for the whole request once its prompt (input, cache read and cache write) exceeds `aboveTokens`. */
  readonly longPrompt?: { readonly aboveTokens: number; readonly prices: Prices };
}

const ANTHROPIC = 'https://platform.claude.com/docs/en/about-claude/pricing';

/** From the dollars per million tokens that price pages print. */
function usd(input: number, output: number, cacheWrite: number, cacheRead: number): Prices {
  const micro = (dollars: number): number => Math.round(dollars * 1_000_000);
  return {
    input: micro(input),
    output: micro(output),
    cacheWrite: micro(cacheWrite),
    cacheRead: micro(cacheRead),
    reasoning: 0,
  };
}

const anthropic = (model: string, from: string, prices: Prices): PriceRow => ({
  model,
  from,
  source: ANTHROPIC,
  prices,
});

/** OpenAI's page as others have read it; `reader` is where the row's figures were found. */
const OPENAI = 'https://developers.openai.com/api/docs/pricing';

/** A prompt above this makes OpenAI bill the whole request at twice the input and cache prices, 1.5 times the output. */
const OPENAI_LONG_PROMPT = 272_000;

const openai = (
  model: string,
  from: string,
  reader: string,
  [input, output, cacheWrite, cacheRead]: readonly [number, number, number, number],
): PriceRow => ({
  model,
  from,
  source: `${OPENAI}, read through ${reader}`,
  prices: usd(input, output, cacheWrite, cacheRead),
  longPrompt: {
    aboveTokens: OPENAI_LONG_PROMPT,
    prices: usd(2 * input, 1.5 * output, 2 * cacheWrite, 2 * cacheRead),
  },
});

const PROMPT_FUEL = 'https://github.com/TheKrush/PromptFuel/releases';

/** All known prices. Rows of one model stand in ascending order of `from`. */
export const PRICE_ROWS: readonly PriceRow[] = [
  anthropic('claude-fable-5-2', '2026-11-09', usd(8, 40, 10, 0.2)),
  anthropic('claude-fable-5-1', '2026-09-01', usd(10, 50, 12.5, 0.25)),
  anthropic('claude-opus-5-5', '2026-09-22', usd(4, 20, 5, 0.2)),
  anthropic('claude-opus-5', '2026-07-24', usd(5, 25, 6.25, 0.5)),
  anthropic('claude-sonnet-5-5', '2026-09-28', usd(2, 10, 2.5, 0.2)),
  anthropic('claude-sonnet-5-5', '2026-10-07', usd(2, 10, 2.5, 0.1)),
  anthropic('claude-sonnet-5', '2026-06-30', usd(2, 10, 2.5, 0.2)),
  {
    ...anthropic('claude-haiku-5-5', '2026-10-07', usd(0.1, 0.5, 0.125, 0.01)),
    longPrompt: { aboveTokens: 100_000, prices: usd(0.5, 2.5, 0.625, 0.05) },
  },
  anthropic('claude-haiku-4-5', '2025-10-15', usd(1, 5, 1.25, 0.1)),
  anthropic('claude-haiku-4-5-20251001', '2025-10-15', usd(1, 5, 1.25, 0.1)),
  openai('gpt-6-astra', '2026-09-03', 'https://github.com/BerriAI/litellm/discussions/39633', [10, 50, 12.5, 1]),
  openai('gpt-6.1-sol', '2026-09-29', `${PROMPT_FUEL}/tag/v1.0.22`, [2, 10, 2.5, 0.1]),
  openai('gpt-6.1-terra', '2026-10-26', `${PROMPT_FUEL}/tag/v1.0.24`, [1, 5, 1.25, 0.05]),
  openai('gpt-6-sol', '2026-09-22', `${PROMPT_FUEL}/tag/v1.0.21`, [2, 10, 2.5, 0.2]),
  openai('gpt-6-luna', '2026-09-22', `${PROMPT_FUEL}/tag/v1.0.21`, [0.1, 0.5, 0.125, 0.01]),
  {
    model: 'offline-1',
    from: '2020-01-01',
    source: 'Invented: the offline model costs nothing and is priced like a small model, so that budgets can be tried.',
    prices: usd(1, 5, 1.25, 0.1),
  },
];
