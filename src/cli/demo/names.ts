/**
 * The people and places of the Commonwealth of Saint Brendan, a State that does not exist (its isle
 * is a phantom of medieval charts). Names mix what the region mixes: English, Kriol, Garifuna,
 * Spanish and Maya. They are drawn at random, and no real person is meant.
 */
import type { Random } from "./random.ts";

export const stateName = "Commonwealth of Saint Brendan";

/** Each district with its two-letter mark, its registry office's town, and its villages. */
export const districts = [
  { name: "Port Clement", mark: "PC", villages: ["Fort Side", "Lime Wharf", "Mizzen Hill"] },
  { name: "Saint Maddock", mark: "SM", villages: ["Maddock Town", "Cocoplum", "Old Ferry"] },
  { name: "Carrow Bay", mark: "CB", villages: ["Carrow", "Turtle Landing", "Grunt Rock"] },
  { name: "Punta Candela", mark: "CA", villages: ["Candela", "Las Uvillas", "Pozo Dulce"] },
  { name: "Wabarugu", mark: "WA", villages: ["Wabarugu Point", "Yurumein Street", "Cassava Hill"] },
  { name: "Ix Tunich", mark: "IX", villages: ["Tunich Village", "Copal", "Santa Elodia"] },
] as const;

export type District = (typeof districts)[number];
export type Sex = "female" | "male";

const forenames: Record<Sex, readonly string[]> = {
  female: [
    "Adelma Alva Amaris Anselma Araceli Beatriz Bernadine Brisa Calista Celestine Charlene",
    "Corina Delcia Delphine Dorla Edwina Elvira Emelda Esmeralda Felicia Florita Glenda",
    "Guadalupe Hortense Idalia Ileana Ivy Ixchel Jacinta Jasmine Kareen Keisha Leonie Lidia",
    "Lorna Lucilla Marcelina Marisol Marva Melva Nadira Nicte Norma Odessa Olivia Paulette",
    "Petrona Primrose Rosalva Roselyn Sabal Santana Shanelle Sherlene Simone Tamara Teresita",
    "Thelma Ursula Verla Vilma Winifred Xiomara Yanira Yolanda Zelma",
  ]
    .join(" ")
    .split(" "),
  male: [
    "Abner Adalid Albion Alrick Anselmo Balam Bartolo Basil Benito Bertram Canul Cedric",
    "Clayton Cleveland Crispin Curlan Dario Delroy Desmond Edison Egbert Elmer Emilio Ernan",
    "Eustace Evaristo Fermin Garnet Gaspar Gilroy Godwin Hilario Hubert Ignacio Isidro Ivan",
    "Jerome Joaquin Kenrick Kirk Leopold Lionel Lisandro Lloyd Marcelo Mateo Nahum Nestor",
    "Norbert Octavio Orlando Osbert Pablo Percival Quentin Ramiro Rudolph Samir Selwyn Stedson",
    "Telford Tiburcio Ulric Venancio Vernon Wilbert Yaxal Zenon",
  ]
    .join(" ")
    .split(" "),
};

const surnames: readonly string[] = [
  // English and Kriol
  "Abbotsley Arnwell Bannerby Belgrove Blackett Bradwick Cadlow Castlebury Coldwell Cramsey",
  "Dunmarsh Eastmond Fairweather Flowers Gabourel Gillett Gladwell Haylock Hulse Jeffries Kingsby",
  "Lanwick Leslie Longworth Mossley Neal Orgill Penmarsh Pitterson Quarmby Reneau Sealy Staine",
  "Tillett Trapwell Usherwood Vernwick Waight Westby Young",
  // Garifuna
  "Arana Ariola Avilez Baltazar Cayetano Castillo Elington Enriquez Flores Gonguez Lambey Lino",
  "Marin Mejia Nolberto Palacio Ramirez Sabal Velasquez Zuniga",
  // Spanish
  "Alcoser Badillo Carballo Cervera Escalante Gallego Guerra Habet Magaña Montejo Novelo Núñez",
  "Olivera Peraza Quiñones Rosado Salazar Trejo Urbina Verde",
  // Maya-like
  "Ack Balan Caal Canul Chan Chuc Coc Cunil Ek Ical Kib Mai Noh Pech Pook Sho Tzib Tut Uck Xool",
]
  .join(" ")
  .split(" ");

const occupations: readonly string[] = [
  "baker",
  "boat builder",
  "bus driver",
  "carpenter",
  "civil servant",
  "electrician",
  "farmer",
  "fisher",
  "hotel worker",
  "housekeeper",
  "market vendor",
  "mason",
  "mechanic",
  "nurse",
  "police officer",
  "seamstress",
  "shopkeeper",
  "student",
  "teacher",
  "tour guide",
];

const streets: readonly string[] = [
  "Almond Street",
  "Back Street",
  "Calle Marina",
  "Cashew Lane",
  "Church Street",
  "Conch Row",
  "Front Street",
  "Frigate Lane",
  "Gulisi Street",
  "Harbour Road",
  "Mangrove Close",
  "Mission Road",
  "Naseberry Avenue",
  "Pelican Street",
  "Regatta Road",
  "Sapodilla Street",
  "Schoolhouse Road",
  "Tamarind Street",
];

export interface FullName {
  readonly forenames: string;
  readonly surname: string;
}

export function forenamesOf(random: Random, sex: Sex): string {
  const first = random.pick(forenames[sex]);
  if (random.chance(35)) return first;
  const second = random.pick(forenames[sex]);
  return second === first ? first : `${first} ${second}`;
}

export function surnameOf(random: Random): string {
  const one = random.pick(surnames);
  return random.chance(6) ? `${one}-${random.pick(surnames)}` : one;
}

export function nameOf(random: Random, sex: Sex): FullName {
  return { forenames: forenamesOf(random, sex), surname: surnameOf(random) };
}

export function sexOf(random: Random): Sex {
  return random.below(2) === 0 ? "female" : "male";
}

export function occupationOf(random: Random): string {
  return random.pick(occupations);
}

/** A postal address on one line, which contains commas. */
export function addressOf(random: Random, district: District): string {
  const village = random.pick<string>(district.villages);
  return `${random.between(1, 140)} ${random.pick(streets)}, ${village}, ${district.name}`;
}
