/** Invents the national identity register: its identities, and the cards issued to them. */
import { csvRow } from "./csv.ts";
import { addressOf, districts, nameOf, sexOf } from "./names.ts";
import { dateOf, padded, type Random } from "./random.ts";

export const identitiesHeader = csvRow([
  "identity_number",
  "surname",
  "forenames",
  "sex",
  "born",
  "birthplace",
  "address",
  "card_number",
  "card_issued",
  "card_expires",
  "status",
]);

/** The column that a change of address alters. */
export const addressColumn = 6;

export interface Identity {
  /** The identity's row of identities.csv. */
  readonly row: string;
  /** The line of the month's file of cards issued, and that month as YYYY-MM. */
  readonly card: string;
  readonly month: string;
}

/** An identity whose present card was issued on `issuedOn`, for ten years. */
export function inventIdentity(random: Random, serial: number, issuedOn: number): Identity {
  const digits = padded(serial, 6);
  const check =
    Array.from(digits).reduce((sum, digit, at) => sum + Number(digit) * (7 - at), 0) % 11;
  const identityNumber = `SB${digits}${check === 10 ? "X" : check}`;
  const cardNumber = `C${padded(random.below(100_000_000), 8)}`;
  const district = random.pick(districts);
  const sex = sexOf(random);
  const { forenames, surname } = nameOf(random, sex);
  const issued = dateOf(issuedOn);
  const expires = `${Number(issued.slice(0, 4)) + 10}${issued.slice(4).replace("-02-29", "-02-28")}`;
  const born = dateOf(issuedOn - random.between(16 * 365, 85 * 365));
  const row = csvRow([
    identityNumber,
    surname,
    forenames,
    sex,
    born,
    random.chance(90) ? random.pick(districts).name : "abroad",
    addressOf(random, district),
    cardNumber,
    issued,
    expires,
    random.chance(98) ? "valid" : "lost",
  ]);
  const card = `${JSON.stringify({
    cardNumber,
    identityNumber,
    issued,
    expires,
    office: district.name,
    chip: padded(random.word(), 10),
    photoDigest: [0, 1, 2, 3].map(() => random.word().toString(16).padStart(8, "0")).join(""),
  })}\n`;
  return { row, card, month: issued.slice(0, 7) };
}
