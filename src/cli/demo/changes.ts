/** Plays one working day of the invented State: what its offices add, correct and withdraw. */
import { appendFileSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  birthRecordNumber,
  birthRecordPath,
  findBirthRecord,
  writtenBirthRecord,
} from "./birth-record.ts";
import { inventBirth, inventDeath, inventMarriage } from "./civil-status.ts";
import { csvFields, csvRow } from "./csv.ts";
import { inventOwner, ownerColumn, registeredColumn, scanPath } from "./land-titles.ts";
import { addressOf, districts, occupationOf } from "./names.ts";
import { addressColumn, inventIdentity } from "./national-identity.ts";
import { dateOf, type Random, randomOf } from "./random.ts";
import { lastDay, lastYear, soughtYear } from "./registers.ts";
import { drawScan } from "./scan.ts";

export interface DayOfChanges {
  /** The day, YYYY-MM-DD. */
  readonly date: string;
  readonly birthsAdded: number;
  readonly birthsCorrected: number;
  /** Rows and lines added to the books of marriages, deaths, identities, cards and titles. */
  readonly rowsAppended: number;
  /** Rows of identities and titles that changed in place. */
  readonly rowsEdited: number;
  readonly scansAdded: number;
  /** The superseded scan that was withdrawn, relative to the directory. */
  readonly deleted: string;
  /** Whole files, the figures above summed up. */
  readonly filesAdded: number;
  readonly filesChanged: number;
  readonly filesDeleted: number;
}

const today = lastDay + 1;

/** Some of the list, each once, in no order that matters. */
function sample<T>(random: Random, list: readonly T[], count: number): T[] {
  const left = [...list];
  return Array.from({ length: Math.min(count, left.length) }, () => {
    const [taken] = left.splice(random.below(left.length), 1);
    return taken as T;
  });
}

/** Alters `count` rows of a book, its header aside, each for sure, and adds rows at its end. */
function editBook(
  path: string,
  random: Random,
  count: number,
  edit: (fields: string[]) => string[],
  added: (rowCount: number) => readonly string[],
): void {
  const rows = readFileSync(path, "utf8").trimEnd().split("\n");
  const numbers = rows.map((_, at) => at).slice(1);
  for (const at of sample(random, numbers, count)) {
    const before = rows[at] ?? "";
    do {
      rows[at] = csvRow(edit(csvFields(before))).trimEnd();
    } while (rows[at] === before);
  }
  writeFileSync(path, `${rows.join("\n")}\n${added(rows.length - 1).join("")}`);
}

function rowCount(path: string): number {
  return readFileSync(path, "utf8").split("\n").length - 2;
}

const times = <T>(count: number, make: (at: number) => T): T[] =>
  Array.from({ length: count }, (_, at) => make(at));

/** Registers `count` births under the numbers that follow the year's last. */
function addBirths(directory: string, random: Random, seed: number, count: number): void {
  const folder = join(directory, `civil-status/births/${lastYear}`);
  const last = Math.max(0, ...readdirSync(folder).map((name) => Number(name.slice(8, 14))));
  for (let serial = last + 1; serial <= last + count; serial++) {
    const record = inventBirth(random, seed, today, serial);
    const path = join(directory, birthRecordPath(record.recordNumber));
    writeFileSync(path, writtenBirthRecord(record));
  }
}

/** Corrects up to `count` births of any closed year but the sought person's; returns how many. */
function correctBirths(directory: string, random: Random, count: number): number {
  const folder = join(directory, "civil-status/births");
  const years = readdirSync(folder).filter((year) => Number(year) < lastYear);
  const chosen = sample(random, years.filter((year) => Number(year) !== soughtYear).sort(), count);
  for (const year of chosen) {
    const serial = 1 + random.below(readdirSync(join(folder, year)).length);
    const number = birthRecordNumber(Number(year), serial);
    const record = findBirthRecord(directory, number);
    const before = record.mother.occupation;
    let occupation = before;
    while (occupation === before) occupation = occupationOf(random);
    const corrected = {
      ...record,
      mother: { ...record.mother, occupation },
      annotations: [
        ...record.annotations,
        {
          on: dateOf(today),
          text: `mother's occupation corrected from "${before}" on sworn declaration`,
          registrar: record.registered.registrar,
        },
      ],
    };
    writeFileSync(join(directory, birthRecordPath(number)), writtenBirthRecord(corrected));
  }
  return chosen.length;
}

/** Changes what `generateRegisters` wrote with the same seed, as its next day would. */
export function changeOneDay(directory: string, seed: number): DayOfChanges {
  const random = randomOf(seed, "one day");
  const birthsAdded = random.between(36, 44);
  addBirths(directory, random, seed, birthsAdded);
  const birthsCorrected = correctBirths(directory, random, random.between(13, 17));

  const append = (
    book: string,
    count: number,
    invent: (random: Random, day: number, serial: number) => string,
  ): void => {
    const path = join(directory, `civil-status/${book}/${lastYear}.csv`);
    const rows = rowCount(path);
    appendFileSync(path, times(count, (at) => invent(random, today, rows + 1 + at)).join(""));
  };
  const [marriages, deaths] = [random.between(2, 5), random.between(3, 7)];
  append("marriages", marriages, inventMarriage);
  append("deaths", deaths, inventDeath);

  const [identities, moves] = [random.between(8, 14), random.between(20, 30)];
  const cards: string[] = [];
  editBook(
    join(directory, "national-identity/identities.csv"),
    random,
    moves,
    (fields) => fields.with(addressColumn, addressOf(random, random.pick(districts))),
    (rows) =>
      times(identities, (at) => {
        const { row, card } = inventIdentity(random, rows + 1 + at, today);
        cards.push(card);
        return row;
      }),
  );
  const month = dateOf(today).slice(0, 7);
  appendFileSync(join(directory, `national-identity/cards/${month}.jsonl`), cards.join(""));

  const transfers = random.between(4, 8);
  editBook(
    join(directory, "land-titles/titles.csv"),
    random,
    transfers,
    (fields) => fields.with(ownerColumn, inventOwner(random)).with(registeredColumn, dateOf(today)),
    () => [],
  );
  const scans = readdirSync(join(directory, "land-titles/scans")).sort();
  const deleted = `land-titles/scans/${random.pick(scans)}`;
  rmSync(join(directory, deleted));
  const lastScan = Number(scans.at(-1)?.slice(5, 10));
  const scansAdded = 2;
  for (let serial = lastScan + 1; serial <= lastScan + scansAdded; serial++) {
    writeFileSync(join(directory, scanPath(serial)), drawScan(randomOf(seed, `scan ${serial}`)));
  }

  const books = 5; // marriages, deaths, identities, cards, titles
  return {
    date: dateOf(today),
    birthsAdded,
    birthsCorrected,
    rowsAppended: marriages + deaths + 2 * identities,
    rowsEdited: moves + transfers,
    scansAdded,
    deleted,
    filesAdded: birthsAdded + scansAdded,
    filesChanged: birthsCorrected + books,
    filesDeleted: 1,
  };
}
