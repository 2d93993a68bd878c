/** The verdict's form for providers that make a model keep to a JSON schema. */
import { z } from "zod";
import { Assessment } from "../messages.ts";

/** Types, enums and lists are known to the grammars of all providers, bounds are not: the verdict's reader checks those. */
const NOT_KNOWN_TO_ALL = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"] as const;

/** JSON Schema of an answer, strict: every field is required, and none besides. */
export const VERDICT_SCHEMA: Readonly<Record<string, unknown>> = verdictSchema();

function verdictSchema() {
  const { $schema: _, ...schema } = z.toJSONSchema(Assessment, {
    override: ({ jsonSchema }) => {
      for (const word of NOT_KNOWN_TO_ALL) delete jsonSchema[word];
    },
  });
  return schema;
}
