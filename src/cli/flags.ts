/** What several commands take as options. */
import { ExclaveError } from "../errors.ts";

/** For options that may come several times. */
export function collect(value: string, before: readonly string[]): readonly string[] {
  return [...before, value];
}

/** A number from 0 to 99. Throws `usage`. */
export function positive(text: string): number {
  if (/^\d{1,2}$/.test(text)) return Number(text);
  throw new ExclaveError("usage", `${text} is not a number from 0 to 32`);
}

/** One of the words. Throws `usage`. */
export function oneOf<T extends string>(choices: readonly T[]): (text: string) => T {
  return (text) => {
    const chosen = choices.find((choice) => choice === text);
    if (chosen !== undefined) return chosen;
    throw new ExclaveError("usage", `${text} is none of: ${choices.join(", ")}`);
  };
}

/** Sites as a register names them: comma-separated, each once. Throws `usage`. */
export function siteList(text: string): readonly string[] {
  const sites = text.split(",").map((site) => site.trim());
  if (new Set(sites).size === sites.length) return sites;
  throw new ExclaveError("usage", "a site is named twice");
}
