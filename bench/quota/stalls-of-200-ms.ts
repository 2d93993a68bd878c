/** Loaded into a worker before anything else (`node --import`): blocks its event loop for 200 ms once a second. */
const STALL_MS = 200;

setInterval(() => {
  const until = performance.now() + STALL_MS;
  while (performance.now() < until);
}, 1_000).unref();
