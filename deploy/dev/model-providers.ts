const REAL = ['ANTHROPIC_API_KEY', 'OPENAI_API_KEY', 'OPENAI_BASE_URL'] as const;

/** Variables of the environment that name a real model provider; where there is none, the offline model plays. */
export function modelProviders(env: Readonly<Record<string, string | undefined>>): readonly string[] {
  return REAL.filter((name) => env[name] !== undefined && env[name] !== '');
}

/** Whether the environment names a real model provider. */
export function hasModelProvider(env: Readonly<Record<string, string | undefined>>): boolean {
  return modelProviders(env).length > 0;
}
