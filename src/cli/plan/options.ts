/** The options of `exclave register plan`, from text to values. */
import { ExclaveError } from "../../errors.ts";
import { parseBitRate, parseByteSize } from "../../platform/units.ts";
import type { Prices } from "./money.ts";

/** "2%", "0.5%": a part from 0 to 1. Throws `usage`. */
export function parsePercent(text: string): number {
  const value = Number(/^(\d{1,3}(?:\.\d{1,9})?)\s*%$/.exec(text.trim())?.[1]) / 100;
  if (value >= 0 && value <= 1) return value;
  throw new ExclaveError("usage", `--change takes a part of a day like 2%, not ${quoted(text)}`);
}

/** A number of days from 1 to 365. Throws `usage`. */
export function parseCourierDays(text: string): number {
  if (/^[1-9]\d{0,2}$/.test(text) && Number(text) <= 365) return Number(text);
  throw new ExclaveError("usage", `--courier-days takes days from 1 to 365, not ${quoted(text)}`);
}

/** Three letters, as ISO 4217 has them. Throws `usage`. */
export function parseCurrency(text: string): string {
  if (/^[A-Za-z]{3}$/.test(text)) return text.toUpperCase();
  throw new ExclaveError("usage", `--currency takes three letters like EUR, not ${quoted(text)}`);
}

/** The size of a sample: enough to be one, and no more than is soon read. Throws `usage`. */
export function parseSampleSize(text: string): number {
  const bytes = parseByteSize(text, "--sample");
  if (bytes >= 1e6 && bytes <= 1e12) return bytes;
  throw new ExclaveError("usage", `--sample takes a size from 1MB to 1TB, not ${quoted(text)}`);
}

/** Speeds of sites, from SITE=SPEED. */
export function parseSiteLinks(
  pairs: readonly string[],
  sites: readonly string[],
): ReadonlyMap<string, number> {
  const option = "--site-link";
  return bySite(pairs, sites, option, (text) => parseBitRate(text, option));
}

/** Prices of sites, from SITE=PRICE of either kind. */
export function parsePrices(
  storage: readonly string[],
  traffic: readonly string[],
  sites: readonly string[],
): ReadonlyMap<string, Prices> {
  const kept = bySite(storage, sites, "--price", (text) => parsePrice(text, "--price"));
  const sent = bySite(traffic, sites, "--traffic-price", (text) =>
    parsePrice(text, "--traffic-price"),
  );
  return new Map(
    sites.map((site) => {
      const [perGbMonth, perGbSent] = [kept.get(site), sent.get(site)];
      return [
        site,
        {
          ...(perGbMonth === undefined ? {} : { perGbMonth }),
          ...(perGbSent === undefined ? {} : { perGbSent }),
        },
      ];
    }),
  );
}

function parsePrice(text: string, option: string): number {
  if (/^\d{1,9}(\.\d{1,9})?$/.test(text)) return Number(text);
  throw new ExclaveError("usage", `${option} takes a price like 0.02, not ${quoted(text)}`);
}

/** Takes SITE=VALUE apart. Throws `unknown-name` for a site that is not the register's, `usage` for the rest. */
function bySite<T>(
  pairs: readonly string[],
  sites: readonly string[],
  option: string,
  parse: (text: string) => T,
): ReadonlyMap<string, T> {
  const values = new Map<string, T>();
  for (const pair of pairs) {
    const at = pair.indexOf("=");
    if (at < 1) throw new ExclaveError("usage", `${option} takes SITE=VALUE, not ${quoted(pair)}`);
    const site = pair.slice(0, at);
    if (!sites.includes(site)) {
      throw new ExclaveError(
        "unknown-name",
        `${option}: the register has no site "${site}"; it has ${sites.join(", ")}`,
      );
    }
    if (values.has(site)) throw new ExclaveError("usage", `${option} names ${site} twice`);
    values.set(site, parse(pair.slice(at + 1)));
  }
  return values;
}

function quoted(text: string): string {
  return JSON.stringify(text);
}
