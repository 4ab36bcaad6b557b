/**
 * What tests that draw their cases go by. Their seed stands still, so that a run of the suites says the same every time;
 * `npm run fuzz` is where luck belongs: it draws a new seed each round and more cases. `KNARR_SEED=n` repeats a round.
 */
export const seed = Number(process.env['KNARR_SEED'] ?? 1);

/** How many times the usual number of cases: `KNARR_FUZZ_SCALE`, 1 if not given. */
export const scale = Number(process.env['KNARR_FUZZ_SCALE'] ?? 1);
