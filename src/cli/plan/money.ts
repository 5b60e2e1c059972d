/** What sites charge, at prices that somebody stated; no price is ever guessed. */

/** Prices of one site, in one currency; absent where nobody stated one. */
export type Prices = {
  /** For 1 GB (10^9 bytes) kept for a month, which is a twelfth of 365 days. */
  readonly perGbMonth?: number;
  /** For 1 GB sent there. */
  readonly perGbSent?: number;
};

/** What is kept and sent at one site in the first so many days. */
export type Use = {
  readonly days: number;
  readonly gbMonths: number;
  readonly sentBytes: number;
  readonly keptBytes: number;
};

export type SiteVolumes = {
  readonly firstBytes: number;
  readonly dailyBytes: number;
  /** After so many whole days a new epoch begins, which sends all again; nothing before it is removed. */
  readonly epochDays: number;
};

const MONTH_DAYS = 365 / 12;
const GB = 1e9;

/** On the first day of an epoch everything is sent, on each other day what changed; it is kept from that day on. */
export function useOf({ firstBytes, dailyBytes, epochDays }: SiteVolumes, days: number): Use {
  let [keptBytes, byteDays] = [0, 0];
  for (let day = 0; day < days; day++) {
    keptBytes += day % epochDays === 0 ? firstBytes : dailyBytes;
    byteDays += keptBytes;
  }
  return { days, gbMonths: byteDays / GB / MONTH_DAYS, sentBytes: keptBytes, keptBytes };
}

/** Absent where the price is not stated; `total` only where both are. */
export type Cost = {
  readonly storage?: number;
  readonly traffic?: number;
  readonly total?: number;
};

export function costOf(use: Use, { perGbMonth, perGbSent }: Prices): Cost {
  const storage = perGbMonth === undefined ? undefined : use.gbMonths * perGbMonth;
  const traffic = perGbSent === undefined ? undefined : (use.sentBytes / GB) * perGbSent;
  return {
    ...(storage === undefined ? {} : { storage }),
    ...(traffic === undefined ? {} : { traffic }),
    ...(storage === undefined || traffic === undefined ? {} : { total: storage + traffic }),
  };
}

/** Of several sites together; absent where it is absent of any of them. */
export function sumOf(costs: readonly Cost[]): Cost {
  const sum = (field: keyof Cost): Cost => {
    const amounts = costs.flatMap((cost) => cost[field] ?? []);
    if (amounts.length < costs.length) return {};
    return { [field]: amounts.reduce((total, amount) => total + amount, 0) };
  };
  return { ...sum("storage"), ...sum("traffic"), ...sum("total") };
}
