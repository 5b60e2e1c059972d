/**
 * Small documents of 1 to 20 KB: JSON applications, XML extracts, letters. Each kind has its fixed
 * wording, and running text that no two documents share.
 */
import type { Random } from "../random.ts";
import { address, date, digits, man, woman } from "./registers.ts";
import { OFFICES, PLACES, SURNAMES, VOCABULARY } from "./words.ts";

const BYTES_MIN = 1_000;
const BYTES_MAX = 20_000;
/** Log-normal, so that the mean with the cut at both ends is about 7.5 KB. */
const BYTES_MEDIAN = 6_400;
const DEVIATION = 0.65;

export type Document = { readonly extension: string; readonly text: string };

export function makeDocument(random: Random, number: number): Document {
  const length = BYTES_MEDIAN * Math.exp(DEVIATION * random.normal());
  const lengthMax = Math.round(Math.min(BYTES_MAX, Math.max(BYTES_MIN, length)));
  const kinds = [application, extract, letter] as const;
  return kinds[number % 3]?.(random, number, lengthMax) ?? letter(random, number, lengthMax);
}

function application(random: Random, number: number, length: number): Document {
  const fields = {
    form: "CS-14/2",
    title: "Application for a certified copy of an entry in the civil status register",
    reference: `APP-${number}-${digits(random, 4)}`,
    received: date(2010 + random.below(14), random),
    office: random.pick(OFFICES),
    applicant: {
      name: woman(random),
      identity: digits(random, 10),
      address: address(random),
      relationship: random.pick(["self", "parent", "child", "spouse", "attorney", "other"]),
    },
    entry: {
      kind: random.pick(["birth", "marriage", "death"]),
      name: man(random, random.pickCommon(SURNAMES)),
      place: random.pickCommon(PLACES),
      date: date(1940 + random.below(80), random),
    },
    declaration:
      "I declare that the particulars given above are true to the best of my knowledge and belief.",
    fee: { amount: `${random.between(5, 60)}.00`, currency: "XCD", receipt: digits(random, 8) },
  };
  const notes: { date: string; by: string; note: string }[] = [];
  for (let bytes = 900; bytes < length; ) {
    const note = { date: date(2024, random), by: woman(random), note: sentences(random, 2) };
    bytes += note.note.length + 90;
    notes.push(note);
  }
  return { extension: "json", text: `${JSON.stringify({ ...fields, notes }, null, 1)}\n` };
}

function extract(random: Random, number: number, length: number): Document {
  const parts = [
    `<?xml version="1.0" encoding="UTF-8"?>
<extract xmlns="urn:example:register:extract:2" number="${number}" issued="${date(2023, random)}">
  <register office="${random.pick(OFFICES)}" district="${random.pickCommon(PLACES)}"/>
  <subject identity="${digits(random, 10)}"><name>${woman(random)}</name></subject>
`,
  ];
  for (let bytes = 420; bytes < length; ) {
    const entry = `  <entry number="${digits(random, 7)}" volume="${random.below(300)}" folio="${random.below(400)}">
    <registered>${date(1960 + random.below(60), random)}</registered>
    <instrument kind="${random.pick(["transfer", "charge", "lease", "caveat", "correction"])}"/>
    <party role="owner">${man(random, random.pickCommon(SURNAMES))}</party>
    <party role="witness">${woman(random)}</party>
    <remark>${sentences(random, 2)}</remark>
  </entry>
`;
    bytes += entry.length;
    parts.push(entry);
  }
  parts.push(
    "  <certification>Certified a true extract of the register.</certification>\n</extract>\n",
  );
  return { extension: "xml", text: parts.join("") };
}

function letter(random: Random, number: number, length: number): Document {
  const office = random.pick(OFFICES);
  const parts = [
    `${office.toUpperCase()}\n${address(random)}\n\nOur reference: ${number}/${digits(random, 5)}\nDate: ${date(
      2000 + random.below(24),
      random,
    )}\n\nDear ${man(random, random.pickCommon(SURNAMES))},\n\nI refer to your letter of ${date(
      2001,
      random,
    )}, and am directed to inform you as follows.\n\n`,
  ];
  for (let bytes = 600; bytes < length; ) {
    const paragraph = `${sentences(random, random.between(2, 5))}\n\n`;
    bytes += paragraph.length;
    parts.push(paragraph);
  }
  parts.push(
    `Should you require any further information, kindly quote the above reference.\n\nYours faithfully,\n\n${woman(
      random,
    )}\nfor the ${office}\n`,
  );
  return { extension: "txt", text: parts.join("") };
}

function sentences(random: Random, count: number): string {
  let text = "";
  for (let sentence = 0; sentence < count; sentence++) {
    text += sentence === 0 ? "The " : " The ";
    for (let words = random.between(8, 22); words > 0; words--) {
      text += random.pickCommon(VOCABULARY);
      text += words > 1 ? " " : ".";
    }
  }
  return text;
}
