/**
 * Writes the registers that `exclave demo` protects: tens of thousands of invented records of an
 * invented island State. The same seed gives the same bytes (under one zlib, for the scans).
 *
 *     civil-status/births/1994/SB-1994-000211.json     one file a birth
 *     civil-status/marriages/1994.csv, deaths/1994.csv one book a year
 *     national-identity/identities.csv                 one row a person
 *     national-identity/cards/2019-04.jsonl            one line a card issued in the month
 *     land-titles/titles.csv, scans/deed-00017.png
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { birthRecordPath, writtenBirthRecord } from "./birth-record.ts";
import {
  daysOfYear,
  deathsHeader,
  inventBirth,
  inventDeath,
  inventMarriage,
  marriagesHeader,
} from "./civil-status.ts";
import { inventTitle, scanPath, titlesHeader } from "./land-titles.ts";
import { stateName } from "./names.ts";
import { identitiesHeader, inventIdentity } from "./national-identity.ts";
import { dayOf, type Random, randomOf } from "./random.ts";
import { drawScan } from "./scan.ts";

/** The last day that the generated registers know of; `changeOneDay` plays the next. */
export const lastDay = dayOf("2026-03-16");
const firstYear = 1984;
export const lastYear = 2026;

/** The year of the person whom the demo looks up. `changeOneDay` leaves its births alone. */
export const soughtYear = 1994;

/** How many records to invent; the scans are files, not records. */
export interface RegisterSizes {
  readonly births: number;
  readonly marriages: number;
  readonly deaths: number;
  readonly identities: number;
  readonly titles: number;
  readonly scans: number;
}

export const demoSizes: RegisterSizes = {
  births: 12_000,
  marriages: 12_000,
  deaths: 8_000,
  identities: 30_000,
  titles: 9_000,
  scans: 120,
};

export interface GeneratedRegisters {
  readonly files: number;
  readonly bytes: number;
  /** Records a register: JSON files, CSV rows without the header, and JSON lines. */
  readonly records: {
    readonly "civil-status": number;
    readonly "national-identity": number;
    readonly "land-titles": number;
  };
  /** The person whose birth record the demo looks up; `path` is relative to the directory. */
  readonly sought: { readonly recordNumber: string; readonly path: string; readonly name: string };
}

/** Divides `total` among the years; the last has seen eleven weeks of its fifty-two. */
function perYear(random: Random, total: number): Map<number, number> {
  const weights = new Map<number, number>();
  for (let year = firstYear; year < lastYear; year++) weights.set(year, random.between(85, 115));
  weights.set(lastYear, 21);
  let weightLeft = [...weights.values()].reduce((sum, weight) => sum + weight, 0);
  let left = total;
  return new Map(
    [...weights].map(([year, weight]) => {
      const count = Math.round((left * weight) / weightLeft);
      left -= count;
      weightLeft -= weight;
      return [year, count];
    }),
  );
}

/** The rows of one book a year, the oldest first, each with its header. */
function books(
  random: Random,
  total: number,
  header: string,
  invent: (random: Random, day: number, serial: number) => string,
): [year: number, text: string][] {
  return [...perYear(random, total)].map(([year, count]) => {
    const rows = daysOfYear(random, year, count, lastDay).map((day, at) =>
      invent(random, day, at + 1),
    );
    return [year, header + rows.join("")];
  });
}

/**
 * Fills `directory`, which is made if need be and should be empty. `sizes` is for tests, which have
 * no use for tens of thousands of files; at least some hundred births, lest a year has none.
 */
export function generateRegisters(
  directory: string,
  seed: number,
  sizes: RegisterSizes = demoSizes,
): GeneratedRegisters {
  let files = 0;
  let bytes = 0;
  const made = new Set<string>();
  const write = (path: string, content: string | Uint8Array): void => {
    const folder = dirname(path);
    if (!made.has(folder)) {
      mkdirSync(join(directory, folder), { recursive: true });
      made.add(folder);
    }
    const data = typeof content === "string" ? Buffer.from(content) : content;
    writeFileSync(join(directory, path), data);
    files++;
    bytes += data.length;
  };

  write(
    "NOTICE.txt",
    `The ${stateName} does not exist. Every person, place and record here is invented\n` +
      `by \`exclave demo\` (seed ${seed}); any likeness is chance.\n`,
  );

  let sought: GeneratedRegisters["sought"] | undefined;
  const births = randomOf(seed, "births");
  for (const [year, count] of perYear(births, sizes.births)) {
    const days = daysOfYear(births, year, count, lastDay);
    const soughtSerial = year === soughtYear ? 1 + randomOf(seed, "sought").below(count) : 0;
    for (const [at, day] of days.entries()) {
      const record = inventBirth(births, seed, day, at + 1);
      const path = birthRecordPath(record.recordNumber);
      write(path, writtenBirthRecord(record));
      if (at + 1 === soughtSerial) {
        const { forenames, surname } = record.child;
        sought = { recordNumber: record.recordNumber, path, name: `${forenames} ${surname}` };
      }
    }
  }
  if (sought === undefined) throw new RangeError(`too few births for one in ${soughtYear}`);

  const marriages = randomOf(seed, "marriages");
  for (const [year, text] of books(marriages, sizes.marriages, marriagesHeader, inventMarriage)) {
    write(`civil-status/marriages/${year}.csv`, text);
  }
  const deaths = randomOf(seed, "deaths");
  for (const [year, text] of books(deaths, sizes.deaths, deathsHeader, inventDeath)) {
    write(`civil-status/deaths/${year}.csv`, text);
  }

  const identities = randomOf(seed, "identities");
  const identityRows = [identitiesHeader];
  const cards = new Map<string, string[]>();
  for (let serial = 1; serial <= sizes.identities; serial++) {
    const issuedOn = identities.between(dayOf("2016-04-01"), lastDay);
    const { row, card, month } = inventIdentity(identities, serial, issuedOn);
    identityRows.push(row);
    const lines = cards.get(month);
    if (lines) lines.push(card);
    else cards.set(month, [card]);
  }
  write("national-identity/identities.csv", identityRows.join(""));
  for (const [month, lines] of [...cards].sort(([a], [b]) => (a < b ? -1 : 1))) {
    write(`national-identity/cards/${month}.jsonl`, lines.join(""));
  }

  const titles = randomOf(seed, "titles");
  const titleRows = [titlesHeader];
  for (let serial = 1; serial <= sizes.titles; serial++) {
    titleRows.push(inventTitle(titles, serial, titles.between(dayOf("1984-01-02"), lastDay)));
  }
  write("land-titles/titles.csv", titleRows.join(""));
  for (let serial = 1; serial <= sizes.scans; serial++) {
    write(scanPath(serial), drawScan(randomOf(seed, `scan ${serial}`)));
  }

  return {
    files,
    bytes,
    records: {
      "civil-status": sizes.births + sizes.marriages + sizes.deaths,
      "national-identity": 2 * sizes.identities,
      "land-titles": sizes.titles,
    },
    sought,
  };
}
