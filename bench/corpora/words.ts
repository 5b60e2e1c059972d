/** The words that invented registers and letters are made of. */
import { Random } from "../random.ts";

export type Words = readonly [string, ...string[]];

function words(text: string): Words {
  const [first = "", ...rest] = text.trim().split(/\s+/);
  return [first, ...rest];
}

function phrases(text: string): Words {
  const [first = "", ...rest] = text.split(";").map((phrase) => phrase.trim());
  return [first, ...rest];
}

export const SURNAMES = words(`
  Williams Smith Brown Johnson Joseph Charles Thomas Alleyne Clarke Browne Greaves Baptiste Martinez
  Castillo Flores Usher Young Gillett Cal Choc Coc Ical Tamm Saar Sepp Mägi Kask Kukk Rebane Ilves
  Põder Õunapuu Lõhmus Järv Noel Roberts Mitchell Peters Phillip Edwards Frank Lewis Lendor Alexander
  Augustine Bain Bernard Bowen Bradshaw Caesar Calliste Campbell Carter Collymore Cox Cummings Daniel
  David De-Gale Dowe Drakes Duncan Fletcher Forde Francis Frederick Gabriel George Gibbs Gilbert Grant
  Griffith Harewood Harris Haynes Henry Hinds Holder Hypolite Isaac Jacobs James Jeremiah John Jones
  King Lashley Layne Lezama Lopez Marshall Maynard McIntosh Modeste Moore Murray Neptune Nurse Ollivierre
  Parris Paul Pierre Pilgrim Pitt Quashie Ramirez Redhead Richards Rock Sandy Scott Sealy Simon St.Clair
  Stephen Stuart Tench Thompson Toppin Vasquez Walcott Ward Weekes Wharton Yearwood Zúñiga`);

export const WOMEN = words(`
  Mary Maria Anne Elizabeth Shanice Kadijah Alicia Carla Denise Esther Faith Gloria Hannah Ingrid Joan
  Karen Keisha Kristiina Kaja Leah Liis Lydia Maarja Margaret Marlene Michelle Nadia Natalie Nerissa
  Olivia Patricia Pauline Rachel Rosalind Ruth Sandra Sarah Sharon Sonia Tamara Teresa Ursula Valerie
  Veronica Yolanda Zara`);

export const MEN = words(`
  John Michael David James Joseph Kevin Anthony Andre Anders Brian Carlos Clyde Curtis Dale Darren Devon
  Dwight Earl Edmund Elroy Errol Felix Fitzroy George Gregory Hugh Ian Jamal Jaan Juhan Kelvin Keith
  Kenrick Leroy Lennox Mart Marlon Nigel Oliver Orlando Patrick Peter Raul Rodney Rupert Samuel Selwyn
  Tarmo Tõnu Trevor Vincent Winston`);

export const PLACES = phrases(`
  Bridgetown;Saint George;Belmopan;Belize City;Orange Walk;San Ignacio;Punta Gorda;Dangriga;Corozal;
  Gouyave;Grenville;Sauteurs;Victoria;Hillsborough;Basseterre;Charlestown;Speightstown;Holetown;Oistins;
  Tartu;Narva;Pärnu;Viljandi;Haapsalu;Kuressaare;Castries;Soufrière;Vieux Fort;Roseau;Portsmouth`);

export const STREETS = phrases(`
  Church Street;Queen Street;Market Hill;Bay Street;Melville Street;Harbour Road;Mission Lane;
  Albert Street;Regent Street;Coronation Avenue;Independence Drive;Constitution Road;Fort Road;
  Government Hill;Lagoon Road;Pikk tänav;Lossi tänav;Ridge Road;Mangrove Close;Cane Garden;
  Breadfruit Alley;Nutmeg Row;Old Mill Road;Schoolhouse Lane;Tamarind Walk;Grand Anse Main Road`);

export const OFFICES = phrases(`
  General Register Office;Land Titles Registry;Supreme Court Registry;Ministry of Home Affairs;
  Office of Citizenship;Companies Registry;Electoral Office;Inland Revenue;Customs and Excise;
  Ministry of Health`);

export const LEGAL_FORMS = words(
  "Ltd Inc OÜ LLC Co-operative Partnership Sole-Trader NGO plc Trust",
);

/** About 4,000 words for running text: some hundred common ones at the front, the rest invented. */
export const VOCABULARY: Words = [
  "the",
  ...words(`
    of and to in a that is for with be by this as on was not or are an have from which at has it shall
    any such been may under his her their all were one will said there if no other who would made into
    upon more these than its must person date act section certificate register record entry birth
    marriage death name family parent child father mother husband wife address parish district country
    nationality citizen application applicant fee receipt officer registrar signature witness seal copy
    original document identity number issued valid until expired renewed lost stolen replaced correction
    amendment order court judge land title parcel boundary survey deed transfer owner lease mortgage
    charge caveat instrument folio volume company director shareholder capital secretary return annual
    licence permit tax assessment payment balance account interest penalty appeal notice hearing decision
    minister permanent service department office letter reference enclosed regarding received request
    information provide before after within days months years period extension please kindly further
    following statement declaration sworn affidavit truth knowledge belief evidence attached certified
    translation language spelling change residence visit passport travel return abroad embassy consulate`),
  ...invent(3700),
];

function invent(count: number): string[] {
  const random = new Random(7, "vocabulary");
  const starts = words("b br c cl d dr f g gr h j k l m n p pl pr r s st t tr v w");
  const vowels = words("a e i o u ea ou ai");
  const ends = words("n r l t s m nd st ck ng ment tion ty ly er ing ed");
  return Array.from({ length: count }, () => {
    let word = "";
    for (let i = random.between(1, 3); i > 0; i--)
      word += random.pick(starts) + random.pick(vowels);
    return word + random.pick(ends);
  });
}
