/**
 * The Kafka broker that one run of all tests shares: started beside them by scripts/run-tests.mjs, since each start costs a
 * small machine seconds of both its cores. Argument: the file that gets the brokers' addresses (JSON) once they accept
 * connections. It ends when its standard input does, so it never outlives the run.
 */
import { renameSync, writeFileSync } from "node:fs";
import { startKafka } from "./kafka.ts";
import { keepClasses } from "./kafka-classes.ts";

const file = process.argv[2] ?? "";
const ended = new Promise((resolve) => process.stdin.once("end", resolve).once("close", resolve).resume());
await keepClasses(startKafka);
const kafka = await startKafka();
writeFileSync(`${file}.part`, JSON.stringify(kafka.brokers));
renameSync(`${file}.part`, file); // whole, or not there
await ended;
await kafka.stop();
process.exit(0);
