/** Raised for what is no expression; `calculate` makes a refusal of it. */
export class ExpressionError extends Error {}

/** Longest expression taken; it also bounds how deep parentheses go. */
export const MAX_EXPRESSION = 500;

/**
 * The value of an expression of numbers, `+ - * /`, signs and parentheses, in doubles, rounded to two decimals and
 * printed with at least one: `4.0`, `12.5`, `-17.99`. Throws ExpressionError for anything else, and for a division by
 * zero.
 */
export function calculate(text: string): string {
  if (text.length > MAX_EXPRESSION) throw new ExpressionError(`longer than ${MAX_EXPRESSION} characters`);
  const tokens = tokensOf(text);
  let at = 0;
  const peek = (): string | undefined => tokens[at];

  const sum = (): number => {
    let value = product();
    for (let sign = peek(); sign === '+' || sign === '-'; sign = peek()) {
      at += 1;
      value = sign === '+' ? value + product() : value - product();
    }
    return value;
  };
  const product = (): number => {
    let value = signed();
    for (let sign = peek(); sign === '*' || sign === '/'; sign = peek()) {
      at += 1;
      const by = signed();
      if (sign === '/' && by === 0) throw new ExpressionError('a division by zero');
      value = sign === '*' ? value * by : value / by;
    }
    return value;
  };
  const signed = (): number => {
    const sign = peek();
    if (sign !== '+' && sign !== '-') return atom();
    at += 1;
    return sign === '-' ? -signed() : signed();
  };
  const atom = (): number => {
    const token = peek();
    at += 1;
    if (token === '(') {
      const value = sum();
      if (peek() !== ')') throw new ExpressionError('a parenthesis is not closed');
      at += 1;
      return value;
    }
    if (token === undefined || !/^[\d.]/.test(token)) throw new ExpressionError('a number is missing');
    return Number(token);
  };

  const value = sum();
  if (at < tokens.length) throw new ExpressionError(`${tokens[at]} stands where nothing may follow`);
  if (!Number.isFinite(value)) throw new ExpressionError('too large');
  return printed(value);
}

function tokensOf(text: string): string[] {
  const tokens = text.match(/\d+\.?\d*|\.\d+|[-+*/()]|[^ ]/g) ?? [];
  const odd = tokens.find((token) => !/^(?:\d+\.?\d*|\.\d+|[-+*/()])$/.test(token));
  if (odd !== undefined) throw new ExpressionError(`${odd} is not understood`);
  return tokens;
}

function printed(value: number): string {
  const rounded = Number(value.toFixed(2));
  return Number.isInteger(rounded) ? rounded.toFixed(1) : String(rounded);
}
