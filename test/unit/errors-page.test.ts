import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { ERRORS } from "../../src/errors.ts";

/** The page as it must read: one row for each error, in the table's order. */
function page(): string {
  const rows = Object.entries(ERRORS).map(
    ([code, { retry, blames, remedy }]) => `| \`${code}\` | ${retry} | ${blames} | ${remedy} |`,
  );
  return `# Errors

Every error that vigilane raises has a code, what to do about trying again, who is at fault, and a remedy. The same table is
\`src/errors.ts\`; a test keeps both alike.

Retry: *never* – the same thing fails again; *elsewhere* – another key group may succeed; *later* – the same thing may succeed after a while.

| code | retry | at fault | remedy |
| --- | --- | --- | --- |
${rows.join("\n")}
`;
}

test("docs/errors.md is the table of src/errors.ts (write it anew with VIGILANE_WRITE_DOCS=1)", async () => {
  if (process.env.VIGILANE_WRITE_DOCS === "1") (await import("node:fs")).writeFileSync("docs/errors.md", page());
  expect(readFileSync("docs/errors.md", "utf8")).toBe(page());
});
