/** How long the end of a connection is waited for when the process ends. Milliseconds. */
export const CLOSE_TIMEOUT = 2_000;

/** Whether the work has come to an end, well or not, within so many milliseconds. It goes on if it has not. */
export async function endsWithin(milliseconds: number, work: Promise<unknown>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), milliseconds);
  });
  const ended = work.then(
    () => true,
    () => true,
  );
  return Promise.race([ended, late]).finally(() => clearTimeout(timer));
}
