/** Registers as CSV: one file a district, about 15 MB each, rows in the order they were entered. */
import type { Random } from "../random.ts";
import { LEGAL_FORMS, MEN, OFFICES, PLACES, STREETS, SURNAMES, WOMEN } from "./words.ts";

export type Register = {
  readonly name: string;
  readonly header: string;
  /** One line, with its newline. Rows of a file are numbered from 0. */
  readonly row: (random: Random, row: number, district: number) => string;
};

export const REGISTERS: readonly Register[] = [
  {
    name: "civil-status",
    header:
      "entry,kind,registered,surname,given_names,sex,born,place,father,mother,address,registrar,act,remarks\n",
    row: (random, row, district) => {
      const surname = random.pickCommon(SURNAMES);
      const kind = random.pickCommon(["birth", "marriage", "death", "adoption", "recognition"]);
      const registered = date(1950 + Math.floor(row / 1100), random);
      const remarks = random.below(9) === 0 ? `corrected ${date(2005, random)} by order` : "";
      return `${district}-${1_000_000 + row},${kind},${registered},${surname},${given(random)},${
        random.below(2) === 0 ? "F" : "M"
      },${registered},${random.pickCommon(PLACES)},${man(random, surname)},${woman(random)},${address(
        random,
      )},${random.pickCommon(OFFICES)},${surname.charAt(0)}/${random.below(900)},${remarks}\n`;
    },
  },
  {
    name: "identity",
    header:
      "national_id,surname,given_names,sex,born,birthplace,address,card,issued,expires,status\n",
    row: (random, row, district) => {
      const issued = date(2012 + random.below(12), random);
      const expires = `${Number(issued.slice(0, 4)) + 10}${issued.slice(4)}`;
      const status = random.pickCommon([
        "valid",
        "expired",
        "replaced",
        "reported lost",
        "revoked",
      ]);
      return `${4_000_000_000 + district * 10_000_000 + row * 7},${random.pickCommon(SURNAMES)},${given(
        random,
      )},${random.below(2) === 0 ? "F" : "M"},${date(1930 + random.below(94), random)},${random.pickCommon(
        PLACES,
      )},${address(random)},C${digits(random, 6)},${issued},${expires},${status}\n`;
    },
  },
  {
    name: "land",
    header:
      "parcel,district,area_m2,owner,owner_id,volume,folio,registered,consideration,currency,charge,easting,northing,use\n",
    row: (random, row, district) => {
      const use = random.pickCommon([
        "residential",
        "agricultural",
        "commercial",
        "crown",
        "reserve",
      ]);
      const charge = random.below(4) === 0 ? "mortgage,Co-operative Credit Union" : "none";
      return `P${district}/${100_000 + row},${random.pickCommon(PLACES)},${
        random.between(20, 999) * 10
      },${man(random, random.pickCommon(SURNAMES))},4${digits(random, 7)},${Math.floor(
        row / 200,
      )},${row % 200},${date(1960 + Math.floor(row / 1900), random)},${
        random.between(10, 900) * 500
      }.00,BBD,${charge},${350_000 + row * 3}.${random.below(10)},${
        1_330_000 + random.below(20_000)
      },${use}\n`;
    },
  },
  {
    name: "business",
    header: "number,name,form,incorporated,address,capital,director,secretary,status,return_due\n",
    row: (random, row, district) => {
      const founder = random.pickCommon(SURNAMES);
      const trade = random.pickCommon([
        "Trading",
        "Fisheries",
        "Construction",
        "Hardware",
        "Transport",
      ]);
      const incorporated = date(1970 + Math.floor(row / 2300), random);
      const status = random.pickCommon(["registered", "struck off", "dissolved", "in liquidation"]);
      return `${district}${200_000 + row},"${founder} ${trade}, ${random.pickCommon(PLACES)}",${random.pickCommon(
        LEGAL_FORMS,
      )},${incorporated},${address(random)},${random.between(1, 200) * 1000}.00,${man(
        random,
        founder,
      )},${woman(random)},${status},${2024 + random.below(3)}${incorporated.slice(4)}\n`;
    },
  },
];

/** A day of that year, as 1987-05-09. */
export function date(year: number, random: Random): string {
  const day = random.below(336);
  const month = 1 + Math.floor(day / 28);
  return `${year}-${month < 10 ? "0" : ""}${month}-${day % 28 < 9 ? "0" : ""}${1 + (day % 28)}`;
}

export function digits(random: Random, count: number): string {
  return String(random.below(10 ** count)).padStart(count, "0");
}

export function address(random: Random): string {
  return `"${random.between(1, 240)} ${random.pickCommon(STREETS)}, ${random.pickCommon(PLACES)}"`;
}

function given(random: Random): string {
  const names = random.below(2) === 0 ? WOMEN : MEN;
  return `${random.pickCommon(names)} ${random.pickCommon(names)}`;
}

export function man(random: Random, surname: string): string {
  return `${surname} ${random.pickCommon(MEN)}`;
}

export function woman(random: Random): string {
  return `${random.pickCommon(SURNAMES)} ${random.pickCommon(WOMEN)}`;
}
