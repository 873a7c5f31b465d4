// What the node says of itself, and where it is.
export const base = process.env.POTLUCK_BASE;
export const key = process.env.POTLUCK_KEY;
export const model = process.env.POTLUCK_MODEL;

/** Waits until nothing is computed. */
export async function awaitIdle() {
  const until = Date.now() + 60_000;
  for (;;) {
    const answer = await fetch(`${base}/metrics`, { headers: { authorization: `Bearer ${key}` } });
    const found = /^potluck_requests_running (\d+)$/m.exec(await answer.text());
    if (Number(found[1]) === 0) return;
    if (Date.now() > until) throw new Error("the answer goes on without its client");
    await new Promise((done) => setTimeout(done, 20));
  }
}
