import { isStewardError, type StewardError } from '#domain/errors.ts';

/** The StewardError a promise fails with. Throws where it succeeds or fails with anything else. */
export async function stewardErrorOf(work: Promise<unknown>): Promise<StewardError> {
  let value: unknown;
  try {
    value = await work;
  } catch (error) {
    if (isStewardError(error)) return error;
    throw error;
  }
  throw new Error(`expected a StewardError, got ${JSON.stringify(value)}`);
}

/** As `stewardErrorOf`, for something that throws at once. */
export async function stewardErrorBy(act: () => unknown): Promise<StewardError> {
  return await stewardErrorOf(Promise.resolve().then(act));
}
