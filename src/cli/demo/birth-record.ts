/** A birth record of the demo's civil-status register: its form, its place, and its certificate. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { ExclaveError } from "../../errors.ts";
import { stateName } from "./names.ts";

const date = z.iso.date();

const parentForm = z.strictObject({
  forenames: z.string(),
  surname: z.string(),
  born: date,
  birthplace: z.string(),
  occupation: z.string(),
  address: z.string(),
});

const birthForm = z.strictObject({
  recordNumber: z.string(),
  book: z.string(),
  folio: z.int(),
  child: z.strictObject({
    forenames: z.string(),
    surname: z.string(),
    sex: z.enum(["female", "male"]),
    born: date,
    bornAt: z.string(),
    birthplace: z.string(),
    district: z.string(),
    weightGrams: z.int(),
  }),
  mother: parentForm,
  father: parentForm.nullable(),
  informant: z.strictObject({ name: z.string(), relationship: z.string() }),
  registered: z.strictObject({ on: date, office: z.string(), registrar: z.string() }),
  annotations: z.array(z.strictObject({ on: date, text: z.string(), registrar: z.string() })),
});

export type Parent = z.infer<typeof parentForm>;
export type BirthRecord = z.infer<typeof birthForm>;

/** SB-YYYY-NNNNNN: the year of registration, and the number within it from 1. */
export function birthRecordNumber(year: number, serial: number): string {
  return `SB-${year}-${String(serial).padStart(6, "0")}`;
}

/**
 * Where a birth record lies, from the root of the registers.
 * @throws ExclaveError `usage` where the text is not a birth record's number
 */
export function birthRecordPath(recordNumber: string): string {
  const year = /^SB-(\d{4})-\d{6}$/.exec(recordNumber)?.[1];
  if (year === undefined) {
    throw new ExclaveError(
      "usage",
      `"${recordNumber}" is not a birth record's number; one looks like SB-1994-000211.`,
    );
  }
  return `civil-status/births/${year}/${recordNumber}.json`;
}

/** The bytes of a birth record as they lie in the register. */
export function writtenBirthRecord(record: BirthRecord): string {
  return `${JSON.stringify(record, null, 2)}\n`;
}

/**
 * Reads one birth record from the registers at `directory`.
 * @throws ExclaveError `usage` for what is no record number, `unknown-name` where there is no such
 *   record, `malformed` where the file does not hold one
 */
export function findBirthRecord(directory: string, recordNumber: string): BirthRecord {
  const path = birthRecordPath(recordNumber);
  let text: string;
  try {
    text = readFileSync(join(directory, path), "utf8");
  } catch (cause) {
    throw new ExclaveError("unknown-name", `There is no birth record ${recordNumber} here.`, {
      cause,
    });
  }
  try {
    return birthForm.parse(JSON.parse(text));
  } catch (cause) {
    throw new ExclaveError("malformed", `${path} does not hold a birth record.`, { cause });
  }
}

const columns = 76;
const margin = 2;
const labelColumns = 16;

/** Breaks a text at spaces, and inside a word only where the word alone is wider than the line. */
function wrapped(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (let word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = "";
    }
    for (; word.length > width; word = word.slice(width)) lines.push(word.slice(0, width));
    line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
}

function longDate(isoDate: string): string {
  return new Date(`${isoDate}T00:00:00Z`).toLocaleDateString("en-GB", {
    timeZone: "UTC",
    day: "numeric",
    month: "long",
    year: "numeric",
  });
}

/**
 * The record as a certificate in plain text: lines of exactly 76 columns in a frame, no newline at
 * the end. Control characters become "?", for a terminal obeys them.
 */
export function formatBirthRecord(record: BirthRecord): string {
  const inner = columns - 2;
  const framed = (text: string): string => `|${text.padEnd(inner)}|`;
  const centred = (text: string): string =>
    framed(" ".repeat(Math.floor((inner - text.length) / 2)) + text);
  const rule = `+${"-".repeat(inner)}+`;
  const field = (label: string, value: string): string[] =>
    wrapped(value.replace(/\p{C}/gu, "?"), inner - 2 * margin - labelColumns).map((line, row) =>
      framed(`${" ".repeat(margin)}${(row === 0 ? label : "").padEnd(labelColumns)}${line}`),
    );
  const parent = (label: string, { forenames, surname, ...rest }: Parent): string[] => [
    ...field(label, `${forenames} ${surname}, ${rest.occupation}`),
    ...field("", `born ${longDate(rest.born)}, ${rest.birthplace}`),
    ...field("", rest.address),
  ];

  const { child, mother, father, informant, registered, annotations } = record;
  return [
    rule,
    centred(stateName.toUpperCase()),
    centred("Certificate of Birth"),
    rule,
    ...field("Record", `${record.recordNumber}   (book ${record.book}, folio ${record.folio})`),
    ...field("Name", `${child.forenames} ${child.surname}`),
    ...field("Sex", child.sex),
    ...field("Born", `${longDate(child.born)}, ${child.bornAt}`),
    ...field("At", `${child.birthplace}, ${child.district}`),
    framed(""),
    ...parent("Mother", mother),
    ...(father === null ? field("Father", "not recorded") : parent("Father", father)),
    framed(""),
    ...field("Informant", `${informant.name} (${informant.relationship})`),
    ...field("Registered", `${longDate(registered.on)}, ${registered.office}`),
    ...field("Registrar", registered.registrar),
    ...annotations.flatMap(({ on, text, registrar }) =>
      field("Annotation", `${longDate(on)}: ${text} (${registrar})`),
    ),
    rule,
  ].join("\n");
}
