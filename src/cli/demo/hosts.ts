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
    site: "kn",
    code: "KN",
    country: "Saint Kitts and Nevis",
    operator: "Ministry of Technology, Basseterre",
    hazardZone: "eastern Caribbean, Leewards",
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
