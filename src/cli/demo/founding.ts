/** The demo's founding: a ceremony whose people are all played by the demo, with their kits and keys in files. */
import { mkdirSync, renameSync } from "node:fs";
import { join, relative } from "node:path";
import { momentOf } from "../../charter/charter.ts";
import { constitutionOf } from "../../charter/presets.ts";
import { toBase64 } from "../../crypto/bytes.ts";
import { generatePassphrase } from "../../crypto/key-file.ts";
import { fingerprint, kitFileNames } from "../../custody/kit.ts";
import { invariant } from "../../errors.ts";
import type { Table } from "../../governance/ceremony.ts";
import { foundState, RELEASE_DELAY_SECONDS } from "../../governance/found-state.ts";
import { newSignatoryKey, readCard } from "../../governance/signatory-key.ts";
import type { Home } from "../../vault/home.ts";
import { writeKeyFile } from "../../vault/key-files.ts";
import { removeTree } from "../clean-up.ts";
import { formatSeconds, plural } from "../format.ts";
import { alignTable } from "../page.ts";
import { holdersNeeded, plan, stateCountry } from "./people.ts";
import { type Paths, type Stage, showStep, timed } from "./stage.ts";

/** log2 of scrypt's N; age's own is 18. */
const WORK_FACTOR = 10;
const USUAL_WORK_FACTOR = 18;
/** How long a decision that changes the rules waits here, and a release that the recovery key alone signed. */
const TIMELOCK_SECONDS = 3;
const SEAT_YEARS = 5;
const DAY_SECONDS = 86_400;

export type KeyHolder = {
  /** 1 to 5, as on the kit. */
  readonly number: number;
  readonly office: string;
  readonly jurisdiction: string;
  readonly kit: string;
  readonly page: string;
  readonly passphrase: string;
};

export type Signatory = {
  readonly seat: string;
  readonly office: string;
  readonly keyFile: string;
  readonly passphrase: string;
};

export type Founded = {
  readonly home: Home;
  readonly fingerprint: string;
  readonly holders: readonly KeyHolder[];
  readonly signatories: readonly Signatory[];
  /** Who opened their kit once, at the table. */
  readonly confirmed: number;
  /** What constitutional decisions wait in life, by the preset, and here. */
  readonly timelockDays: number;
  readonly timelockSeconds: number;
  /** The same of releases by the recovery key alone. */
  readonly releaseDays: number;
  readonly releaseSeconds: number;
};

/** Chapter 2: the ceremony. */
export async function foundTheState(stage: Stage): Promise<Founded> {
  const { page, paths } = stage;
  page.heading("2. The founding: five key holders, five seats");
  page.command("exclave found --plan plan.json --ceremony ceremony");
  page.gap();
  page.text(
    "Around one table, on a machine that is on no network, the recovery key is made, divided, " +
      "sealed into five kits, and forgotten. From then on nobody has it whole.",
  );
  page.gap();
  showStep(stage, "holding the ceremony");
  const { value: founded, seconds } = await timed(stage, "found the State, make five kits", () =>
    holdCeremony(paths),
  );
  const { holders, confirmed } = founded;
  page.lines(
    alignTable(
      holders.map(({ number, office, jurisdiction }) => [
        `key holder ${number}`,
        office,
        jurisdiction === stateCountry ? "at home" : `abroad (${jurisdiction})`,
      ]),
      [1, 2],
    ),
  );
  page.gap();
  page.text(
    `Any ${holdersNeeded} of these ${holders.length} key holders bring the State back, so ` +
      `${holders.length - holdersNeeded} may be lost; ${holdersNeeded - 1} together have ` +
      `nothing. ${confirmed} have opened their kit once, from where it was written.`,
  );
  sayKit(stage, founded);
  sayRules(stage, founded);
  page.text(
    "In life each holder writes their passphrase on paper, and it is stretched for a second. " +
      `Here the demo remembers them, and stretches them ${2 ** (USUAL_WORK_FACTOR - WORK_FACTOR)} ` +
      `times less. Done in ${formatSeconds(seconds)}.`,
  );
  return founded;
}

function sayKit({ page, paths }: Stage, founded: Founded): void {
  const abroad = founded.holders.at(-1);
  invariant(abroad, "there are key holders");
  const folder = join(paths.keyHolders, `${abroad.number}`);
  page.gap();
  page.lines(
    alignTable(
      [
        ["fingerprint", `${founded.fingerprint}  (read aloud; it is on every page)`],
        [`key holder ${abroad.number}`, `takes home ${relative(paths.root, folder)}:`],
      ],
      [1],
    ),
  );
  page.lines([`  ${relative(folder, abroad.kit)}`, `  ${relative(folder, abroad.page)}`]);
  page.text(
    "The second is the page to print: what to do on the worst day, and the kit in squares.",
  );
  page.gap();
}

function sayRules({ page }: Stage, { home, timelockDays, timelockSeconds }: Founded): void {
  const { seats, thresholds } = home.charter.constitution;
  const { ordinary, constitutional } = thresholds;
  page.text(
    `Others decide, some of them the same people: ` +
      `${plan.seats.map(({ office }) => office).join(", ")}. ` +
      `Of these ${seats.length} seats ${ordinary.signatures} must sign. What changes the rules, ` +
      `or takes a site away, needs one of them from abroad, and waits in the sight of all host ` +
      `countries, where any ${constitutional.vetoSignatures} seats can veto it: ` +
      `${plural(timelockDays, "day")} in life; ${timelockSeconds} seconds here.`,
  );
}

async function holdCeremony(paths: Paths): Promise<Founded> {
  for (const folder of ["capital", "seats", "key-holders", "abroad", "bare-machine", "sites"]) {
    mkdirSync(join(paths.root, folder), { recursive: true });
  }
  const now = new Date();
  const given = new Map<string, string>();
  const passphraseOf = (who: string): string => {
    const passphrase = given.get(who);
    invariant(passphrase, `the demo was given a passphrase for ${who}`);
    return passphrase;
  };
  const table: Table = {
    give: async (who, passphrase) => {
      given.set(who, passphrase);
      return {};
    },
    typeAgain: async (holder, office) => passphraseOf(`key holder ${holder}, ${office}`),
    onStep: () => undefined,
    workFactor: WORK_FACTOR,
  };
  const keys = await Promise.all(plan.seats.map((seat) => newKey(paths, seat, now)));
  const { home, confirmed } = await foundState({
    home: paths.home,
    plan,
    seatKeys: keys.map(({ publicKey }) => [publicKey]),
    folder: paths.ceremony,
    table,
    now,
    timelockSeconds: TIMELOCK_SECONDS,
    releaseDelaySeconds: TIMELOCK_SECONDS,
  });
  const { constitution, releaseDelaySeconds } = home.charter;
  const usual = constitutionOf(plan.preset, constitution.seats, stateCountry).thresholds;
  const holders = handOut(paths, home, passphraseOf);
  return {
    home,
    fingerprint: fingerprint(home.state),
    holders,
    signatories: keys.map(({ signatory }) => signatory),
    confirmed,
    timelockDays: usual.constitutional.timelockSeconds / DAY_SECONDS,
    timelockSeconds: constitution.thresholds.constitutional.timelockSeconds,
    releaseDays: RELEASE_DELAY_SECONDS[plan.preset] / DAY_SECONDS,
    releaseSeconds: releaseDelaySeconds,
  };
}

/** A signing key for a seat, in a file under a passphrase. */
async function newKey(
  paths: Paths,
  { name, office, institution, jurisdiction }: (typeof plan.seats)[number],
  now: Date,
): Promise<{ readonly signatory: Signatory; readonly publicKey: string }> {
  const passphrase = generatePassphrase();
  const until = momentOf(new Date(now.getTime() + SEAT_YEARS * 365 * DAY_SECONDS * 1000));
  const made = await newSignatoryKey(
    { name, office, institution, jurisdiction, until },
    { passphrase, workFactor: WORK_FACTOR },
  );
  const keyFile = join(paths.seats, `${name}.age`);
  await writeKeyFile(keyFile, made.keyFile);
  return {
    signatory: { seat: name, office, keyFile, passphrase },
    publicKey: toBase64(readCard(made.card).key.bytes),
  };
}

/** Everybody leaves the room with what is theirs, and what it lay on is destroyed. */
function handOut(
  paths: Paths,
  home: Home,
  passphraseOf: (who: string) => string,
): readonly KeyHolder[] {
  const { shares, holders } = home.charter.recovery;
  for (const file of ["watch.age", "transcript.txt"]) {
    renameSync(join(paths.ceremony, file), join(paths.abroad, file));
  }
  const handed = holders.map(({ index, office, jurisdiction }) => {
    const number = index + 1;
    const names = kitFileNames({ stateName: home.charter.name, index, set: shares });
    const folder = join(paths.keyHolders, `${number}`);
    mkdirSync(folder);
    const take = (file: string): string => {
      renameSync(join(paths.ceremony, "kits", file), join(folder, file));
      return join(folder, file);
    };
    const passphrase = passphraseOf(`key holder ${number}, ${office}`);
    return {
      number,
      office,
      jurisdiction,
      kit: take(names.kit),
      page: take(names.page),
      passphrase,
    };
  });
  removeTree(paths.ceremony);
  return handed;
}
