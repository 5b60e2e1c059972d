/** The five host countries of the demo, and how many of them bring everything back. */

export type Host = {
  /** The site's name: the country's code in small letters. */
  readonly site: string;
  readonly code: string;
  readonly country: string;
  readonly operator: string;
  readonly hazardZone: string;
};

/** In the order of the shards. The first is the one that looks inside its own site. */
export const hosts: readonly [Host, ...Host[]] = [
  {
    site: "bb",
    code: "BB",
    country: "Barbados",
    operator: "Government Data Centre, Bridgetown",
    hazardZone: "eastern Caribbean, Barbados",
  },
  {
    site: "gd",
    code: "GD",
    country: "Grenada",
    operator: "National Data Centre, Saint George's",
    hazardZone: "eastern Caribbean, Windwards",
  },
  {
    site: "lu",
    code: "LU",
    country: "Luxembourg",
    operator: "State data centre, Betzdorf",
    hazardZone: "western Europe",
  },
  {
    site: "ee",
    code: "EE",
    country: "Estonia",
    operator: "State cloud, Tallinn",
    hazardZone: "Baltic",
  },
  {
    site: "ca",
    code: "CA",
    country: "Canada",
    operator: "Shared services, Ottawa",
    hazardZone: "eastern Canada",
  },
];

/** Of these sites, the one that may store in an S3 engine: never the first that are lost, nor the damaged one. */
export const engineSite = "ca";

/** The State's own site, where it hosts another State and nothing of its own. */
export const ownSite: Host = {
  site: "xb",
  code: "XB",
  country: "Saint Brendan",
  operator: "Government Computer Service, Port Clement",
  hazardZone: "Saint Brendan, north island",
};

/** Where the State that hosts here stores in its turn: at the State's own site, and at two that serve both. */
export const neighbourSites: readonly string[] = ["xb", "lu", "ee"];

/** A sixth site, where no register is kept: the State is about to expel it. */
export const soldSite: Host = {
  site: "ca-west",
  code: "CA",
  country: "Canada",
  operator: "Harbour Colocation, Vancouver",
  hazardZone: "western Canada",
};

/**
 * Any two sites bring everything back. Two are lost and a third is damaged in the demo, so the three
 * of five that a State would take would have to give up, and rightly.
 */
export const threshold = 2;
/** Losses that a recovery point survives from the moment it is committed: four sites must confirm it. */
export const survive = 2;
