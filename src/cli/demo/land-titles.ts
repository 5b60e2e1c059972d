/** Invents the land-title register's rows; scan.ts makes its scanned deeds. */
import { csvRow } from "./csv.ts";
import { districts, nameOf, sexOf } from "./names.ts";
import { dateOf, padded, type Random } from "./random.ts";

export const titlesHeader = csvRow([
  "title",
  "district",
  "parcel",
  "block",
  "area_m2",
  "tenure",
  "owner",
  "registered",
  "deed",
  "encumbrances",
]);

/** The columns that a transfer alters. */
export const ownerColumn = 6;
export const registeredColumn = 7;

const lenders = ["Brendan Mutual Bank", "Carrow Credit Union", "Development Finance Fund"];

export function inventOwner(random: Random): string {
  const { forenames, surname } = nameOf(random, sexOf(random));
  if (random.chance(8)) return `Estate of ${forenames} ${surname}`;
  if (random.chance(18)) return `${forenames} ${surname}; ${nameOf(random, "female").forenames}`;
  return `${forenames} ${surname}`;
}

function encumbrances(random: Random): string {
  const day = dateOf(random.between(9_000, 20_400));
  if (random.chance(68)) return "none";
  if (random.chance(60)) {
    const amount = random.between(12, 400) * 1000;
    return `mortgage, ${random.pick(lenders)}, SB$ ${amount}, ${day}`;
  }
  return random.pick([
    `right of way to the sea, ${day}`,
    `caution lodged ${day}`,
    `lease of 25 years from ${day}`,
    `drainage easement, ${day}`,
  ]);
}

export function inventTitle(random: Random, serial: number, registeredOn: number): string {
  const district = random.pick(districts);
  return csvRow([
    `LT-${district.mark}-${padded(serial, 5)}`,
    district.name,
    random.between(1, 1800),
    random.between(1, 45),
    random.chance(80) ? random.between(180, 2400) : random.between(4000, 260_000),
    random.chance(85) ? "freehold" : "leasehold",
    inventOwner(random),
    dateOf(registeredOn),
    `deed ${random.between(1, 900)} of ${dateOf(registeredOn).slice(0, 4)}`,
    encumbrances(random),
  ]);
}

/** Where the scan of the given number lies, from the root of the registers. */
export function scanPath(serial: number): string {
  return `land-titles/scans/deed-${padded(serial, 5)}.png`;
}
