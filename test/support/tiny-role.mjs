// A role for tests of the supervisor: does what TINY says and tells of itself on standard output.
// wait (default): ready, then until told to stop | crash: says why and dies | deaf: ready, ignores SIGTERM |
// parent: ready, with a child of its own that outlives it unless somebody ends it
import { spawn } from "node:child_process";

const [role] = process.argv.slice(2);
const does = JSON.parse(process.env.TINY ?? "{}")[role] ?? "wait";
const say = (what) => process.stdout.write(`${what} ${role} ${process.pid}\n`);
say("born");
if (does === "crash") {
  process.stderr.write("the reason is written on the wall\n");
  process.exit(3);
}
if (does === "parent") {
  const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"], { stdio: "ignore" });
  process.stdout.write(`grandchild ${role} ${child.pid}\n`);
}
const alive = setInterval(() => {}, 1000);
const end = () => {
  if (does === "deaf") return;
  say("ended");
  clearInterval(alive);
  process.exit(0);
};
process.on("SIGTERM", end);
process.on("disconnect", end);
process.send({ ready: true });
