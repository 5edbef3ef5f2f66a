/** What a launcher tells people while they wait. */

/** Takes one line at a time, without a line end. */
export type OnProgress = (line: string) => void;

const FIRST_MS = 1_000;
const THEN_MS = 5_000;

/**
 * Runs `work` and reports it once it has taken a second, then every five, with the seconds so far. `detail` adds what
 * is known of how far it got. Quiet for anything shorter.
 */
export async function withProgress<T>(
  onProgress: OnProgress,
  label: string,
  work: Promise<T>,
  detail: () => string = () => '',
): Promise<T> {
  const began = Date.now();
  const seconds = () => Math.round((Date.now() - began) / 1000);
  const tell = () => {
    const more = detail();
    onProgress(`${label}: ${seconds()} s${more === '' ? '' : `, ${more}`}`);
    timer = setTimeout(tell, THEN_MS);
  };
  let timer = setTimeout(tell, FIRST_MS);
  try {
    const result = await work;
    if (Date.now() - began > FIRST_MS) onProgress(`${label}: done in ${seconds()} s`);
    return result;
  } finally {
    clearTimeout(timer);
  }
}
