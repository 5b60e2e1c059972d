/** Invents births, marriages and deaths. */
import { type BirthRecord, birthRecordNumber, type Parent } from "./birth-record.ts";
import { csvRow } from "./csv.ts";
import {
  addressOf,
  type District,
  districts,
  type FullName,
  forenamesOf,
  nameOf,
  occupationOf,
  type Sex,
  sexOf,
  surnameOf,
} from "./names.ts";
import { dateOf, dayOf, padded, type Random, randomOf } from "./random.ts";

export const marriagesHeader = csvRow([
  "record",
  "date",
  "district",
  "place",
  "spouse_a",
  "spouse_a_born",
  "spouse_a_occupation",
  "spouse_b",
  "spouse_b_born",
  "spouse_b_occupation",
  "witness_1",
  "witness_2",
  "officiant",
]);

export const deathsHeader = csvRow([
  "record",
  "date",
  "district",
  "name",
  "sex",
  "born",
  "occupation",
  "last_address",
  "place",
  "cause_icd10",
  "certified_by",
  "informant",
]);

const venues = [
  "the Registry Office",
  "Saint Brendan's Church",
  "Methodist Chapel",
  "Iglesia de la Candelaria",
  "the Harbour Garden",
  "Seventh-day Hall",
];
const causes = ["I21.9", "I64", "E14.9", "J18.9", "C61", "C50.9", "K74.6", "N18.5", "R54", "W74"];

const fullName = ({ forenames, surname }: FullName): string => `${forenames} ${surname}`;

/** The registrar of a district in a year: an officer stays for some years, under one name. */
export function registrarOf(seed: number, district: District, year: number): string {
  const random = randomOf(seed, `registrar ${district.mark} ${Math.floor(year / 7)}`);
  return fullName(nameOf(random, sexOf(random)));
}

function parentOf(random: Random, sex: Sex, bornOn: number, home: District): Parent {
  const origin = random.chance(75) ? home : random.pick(districts);
  return {
    ...nameOf(random, sex),
    born: dateOf(bornOn - random.between(18 * 365, 41 * 365)),
    birthplace: random.chance(92) ? origin.name : "abroad",
    occupation: occupationOf(random),
    address: addressOf(random, home),
  };
}

/** A birth that was registered on the given day; the child was born up to eight weeks before. */
export function inventBirth(
  random: Random,
  seed: number,
  registeredOn: number,
  serial: number,
): BirthRecord {
  const on = dateOf(registeredOn);
  const year = Number(on.slice(0, 4));
  const district = random.pick(districts);
  const bornOn = registeredOn - random.between(2, 56);
  const mother = parentOf(random, "female", bornOn, district);
  const known = random.chance(93) ? parentOf(random, "male", bornOn, district) : null;
  const father = known && random.chance(80) ? { ...known, address: mother.address } : known;
  const sex = sexOf(random);
  const informant = father !== null && random.chance(40) ? father : mother;
  return {
    recordNumber: birthRecordNumber(year, serial),
    book: `${year}/${1 + Math.floor((serial - 1) / 200)}`,
    folio: 1 + ((serial - 1) % 200),
    child: {
      forenames: forenamesOf(random, sex),
      surname: (father ?? mother).surname,
      sex,
      born: dateOf(bornOn),
      bornAt: `${padded(random.below(24), 2)}:${padded(random.below(60), 2)}`,
      birthplace: random.chance(85)
        ? `${district.name} District Hospital`
        : `at home, ${random.pick<string>(district.villages)}`,
      district: district.name,
      weightGrams: random.between(2300, 4300),
    },
    mother,
    father,
    informant: {
      name: fullName(informant),
      relationship: informant === mother ? "mother" : "father",
    },
    registered: {
      on,
      office: `${district.name} District Registry`,
      registrar: registrarOf(seed, district, year),
    },
    annotations: [],
  };
}

export function inventMarriage(random: Random, day: number, serial: number): string {
  const date = dateOf(day);
  const district = random.pick(districts);
  const spouse = (sex: Sex): readonly string[] => [
    fullName(nameOf(random, sex)),
    dateOf(day - random.between(19 * 365, 60 * 365)),
    occupationOf(random),
  ];
  const someone = (): string => fullName(nameOf(random, sexOf(random)));
  return csvRow([
    `SBM-${date.slice(0, 4)}-${padded(serial, 5)}`,
    date,
    district.name,
    `${random.pick(venues)}, ${random.pick<string>(district.villages)}`,
    ...spouse("female"),
    ...spouse("male"),
    someone(),
    someone(),
    someone(),
  ]);
}

export function inventDeath(random: Random, day: number, serial: number): string {
  const date = dateOf(day);
  const district = random.pick(districts);
  const sex = sexOf(random);
  return csvRow([
    `SBD-${date.slice(0, 4)}-${padded(serial, 5)}`,
    date,
    district.name,
    fullName(nameOf(random, sex)),
    sex,
    dateOf(day - random.between(20 * 365, 97 * 365)),
    occupationOf(random),
    addressOf(random, district),
    random.chance(60) ? `${district.name} District Hospital` : "at home",
    random.pick(causes),
    `Dr ${surnameOf(random)}`,
    fullName(nameOf(random, sexOf(random))),
  ]);
}

/** `count` days of a year in order, up to and including the day `last`. */
export function daysOfYear(random: Random, year: number, count: number, last: number): number[] {
  const first = dayOf(`${year}-01-01`);
  const end = Math.min(last, dayOf(`${year}-12-31`));
  return Array.from({ length: count }, () => random.between(first, end)).sort((a, b) => a - b);
}
