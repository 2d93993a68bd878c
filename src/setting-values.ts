/** How the values of settings are read, whether they come as text (flags, environment) or as they are (the file). */
import { z } from "zod";

/** Reads "8800" and 8800 alike; refuses "" and "abc". */
export const number = () => z.preprocess((v) => (typeof v === "string" && v.trim() !== "" ? Number(v) : v), z.number());

export const flag = () =>
  z.preprocess(
    (v) => (v === "true" || v === "1" || v === "yes" ? true : v === "false" || v === "0" || v === "no" ? false : v),
    z.boolean(),
  );

export const list = () =>
  z.preprocess(
    (v) =>
      typeof v === "string"
        ? v
            .split(",")
            .map((part) => part.trim())
            .filter(Boolean)
        : v,
    z.array(z.string()),
  );
