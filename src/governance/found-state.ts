/**
 * `found` with key holders and seats: a State that belongs to no single person. The recovery secret is made here,
 * lives for as long as the ceremony lasts, and is whole nowhere afterwards.
 */
import { randomBytes } from "node:crypto";
import { rename, rm, rmdir } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { z } from "zod";
import { type Charter, type Constitution, momentOf } from "../charter/charter.ts";
import { constitutionOf } from "../charter/presets.ts";
import { toHex, wipe } from "../crypto/bytes.ts";
import type { KitDetails } from "../custody/ceremony.ts";
import { splitSecret } from "../custody/share-set.ts";
import { ExclaveError } from "../errors.ts";
import { syncDirectory } from "../sites/durable.ts";
import { Home, refuseExistingHome } from "../vault/home.ts";
import { recoveryKeyFromSeed } from "../vault/recovery-key.ts";
import { peopleOf, personOf, sealAnnex } from "./annex.ts";
import { type KeyHolder, type Kits, makeKits, type Table } from "./ceremony.ts";
import { confirmReceipt, saveCustody } from "./custody.ts";
import { createState, draftState, publicPartOf } from "./found.ts";
import { enter } from "./ledger-at-sites.ts";
import { signRecord } from "./records.ts";

/** A seat's end, when the plan says nothing. */
const SEAT_YEARS = 5;
const YEAR_MS = 365 * 86_400_000;
/** How long sites promise what they store, by preset. */
const RETENTION_SECONDS = { pilot: 30 * 86_400, state: 365 * 86_400 };
/** How long a release that the recovery key alone signed waits, by preset. */
export const RELEASE_DELAY_SECONDS = { pilot: 86_400, state: 2 * 86_400 };
const HOLDERS_MAX = 32;

const text = z.string().min(1).max(200);
const country = z.string().regex(/^[A-Z]{2}$/, "two capital letters");
const shortName = z.string().regex(/^[a-z0-9][a-z0-9._-]{0,62}$/, "small letters, digits, dashes");

/** What a ceremony begins with: a file that people wrote and agreed on beforehand. Nothing in it is secret. */
export const foundingPlanSchema = z.strictObject({
  state: text,
  country,
  preset: z.enum(["pilot", "state"]),
  keyHolders: z.strictObject({
    threshold: z.int().min(1).max(HOLDERS_MAX),
    holders: z
      .array(
        z.strictObject({
          name: text,
          office: text,
          jurisdiction: country,
          recipient: z.string().max(8192).optional(),
        }),
      )
      .min(1)
      .max(HOLDERS_MAX),
  }),
  seats: z
    .array(
      z.strictObject({
        name: shortName,
        office: text,
        institution: text,
        jurisdiction: country,
        /** A day, as 2031-01-01. */
        until: z.iso.date().optional(),
        /** The holder first, then deputies; each brings a card, or gets a key at the table. */
        people: z
          .array(z.strictObject({ name: text, card: z.string().max(4096).optional() }))
          .min(1)
          .max(4),
      }),
    )
    .min(1)
    .max(32),
  /** Where the sites will be, for the kits; they are admitted later. */
  sites: z
    .array(z.strictObject({ name: text, country, operator: text, where: z.string().max(500) }))
    .max(32)
    .optional(),
  /** SHA-256 of the packed program that the sites will hold: `exclave site program` says it. For the kits. */
  program: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .optional(),
});
export type FoundingPlan = z.infer<typeof foundingPlanSchema>;

export type FoundStateOptions = {
  readonly home: string;
  readonly plan: FoundingPlan;
  /** Public signing keys (base64) of the seats' people, in the plan's order. */
  readonly seatKeys: readonly (readonly string[])[];
  /** Where kits, pages, watch and transcript go; on a medium that leaves the room. */
  readonly folder: string;
  readonly table: Table;
  readonly now: Date;
  /** How long constitutional decisions wait, in place of the preset's days: for a demo, and no State. */
  readonly timelockSeconds?: number;
  /** The same of releases by the recovery key alone. */
  readonly releaseDelaySeconds?: number;
};

/**
 * Holds the ceremony and makes the State and its home. Home comes last: when it fails before, there is no
 * State, and what is in the folder opens nothing.
 *
 * @throws ExclaveError `usage` for a plan that no charter can say, and as `makeKits`
 */
export async function foundState(
  options: FoundStateOptions,
): Promise<{ readonly home: Home; readonly kits: Kits; readonly confirmed: number }> {
  const { plan, folder, table, now } = options;
  const path = resolve(options.home);
  await refuseExistingHome(path);
  const secret = randomBytes(32);
  const recovery = recoveryKeyFromSeed(secret);
  const { holders, threshold } = plan.keyHolders;
  const set = splitSecret(secret, { k: threshold, n: holders.length, generation: 1 }, randomBytes);
  const building = join(dirname(path), `.${basename(path)}.founding`);
  await rm(building, { recursive: true, force: true });
  try {
    const charter = charterPlan(options);
    const draft = draftState({
      ...charter,
      recovery: recoveryOf(options, recovery, set, charter.people.salt),
    });
    const home = await createState(building, draft, { now });
    const kits = await makeKits({
      set,
      details: await kitDetails(home, plan),
      holders,
      folder,
      table,
      now,
    });
    const confirmed = await keepKits(home, kits, home.charter.recovery, now);
    // Nothing of home is a State's before its kits are written and tested.
    await rmdir(path).catch(() => undefined);
    await rename(building, path);
    await syncDirectory(dirname(path));
    return { home: await Home.open(path), kits, confirmed };
  } finally {
    wipe(secret, ...set.shares.map(({ share }) => share));
    await rm(building, { recursive: true, force: true });
  }
}

function charterPlan({
  plan,
  seatKeys,
  now,
  timelockSeconds,
  releaseDelaySeconds,
}: FoundStateOptions) {
  const people = peopleOf([
    ...plan.seats.flatMap((seat) => seat.people.map(({ name }) => name)),
    ...plan.keyHolders.holders.map(({ name }) => name),
  ]);
  const seats = plan.seats.map((seat, i) => ({
    name: seat.name,
    office: seat.office,
    institution: seat.institution,
    jurisdiction: seat.jurisdiction,
    until: seat.until
      ? `${seat.until}T00:00:00Z`
      : momentOf(new Date(now.getTime() + SEAT_YEARS * YEAR_MS)),
    people: seat.people.map(({ name }, j) => {
      const key = seatKeys[i]?.[j];
      if (key !== undefined) return { person: personOf(people.salt, name), key };
      throw new ExclaveError("usage", `seat ${seat.name} has no signing key for ${name}`);
    }),
  }));
  const preset = constitutionOf(plan.preset, seats, plan.country);
  return {
    stateName: plan.state,
    now,
    constitution: timelockSeconds === undefined ? preset : withTimelock(preset, timelockSeconds),
    people,
    releaseDelaySeconds: releaseDelaySeconds ?? RELEASE_DELAY_SECONDS[plan.preset],
    retentionSeconds: RETENTION_SECONDS[plan.preset],
  };
}

function withTimelock(constitution: Constitution, timelockSeconds: number): Constitution {
  const { thresholds } = constitution;
  const constitutional = { ...thresholds.constitutional, timelockSeconds };
  return { ...constitution, thresholds: { ...thresholds, constitutional } };
}

function recoveryOf(
  { plan }: FoundStateOptions,
  recovery: ReturnType<typeof recoveryKeyFromSeed>,
  { publicPart }: ReturnType<typeof splitSecret>,
  salt: string,
) {
  return {
    ...publicPartOf(recovery),
    shares: { ...publicPart, shareCommitments: [...publicPart.shareCommitments] },
    holders: holdersOf(plan.keyHolders.holders, salt),
  };
}

/** The key holders as the charter has them. */
export function holdersOf(holders: readonly KeyHolder[], salt: string) {
  return holders.map(({ name, office, jurisdiction }, index) => ({
    index,
    office,
    jurisdiction,
    person: personOf(salt, name),
  }));
}

/** What the kits of this State say, as its ledger stands. */
export async function kitDetails(
  home: Home,
  { sites = [], program }: Pick<FoundingPlan, "sites" | "program">,
): Promise<KitDetails> {
  const head = await home.withLedger((log) => log.head());
  const { origin, size, root } = head;
  return {
    state: home.state,
    stateName: home.charter.name,
    foundingHash: home.state,
    charterHash: home.known.charterId,
    checkpoint: { origin, size, root: toHex(root) },
    witnessKeys: home.charter.ledger.witnesses.flatMap(({ keys }) => keys),
    sites,
    ...(program === undefined ? {} : { program }),
  };
}

/** Takes a ceremony into home: custody, its record in the ledger, and the receipts of who opened at once. */
export async function keepKits(
  home: Home,
  kits: Kits,
  recovery: Charter["recovery"],
  now: Date,
): Promise<number> {
  const { custody, transcriptHash, kitHashes, receipts } = kits;
  const by = { agent: home.agent, time: now };
  const annex = sealAnnex(custody, { state: home.state, recovery }, by);
  await saveCustody(home, custody);
  await home.saveAnnex(annex);
  const record = signRecord(
    "share-set",
    {
      setId: custody.setId,
      generation: custody.generation,
      transcript: transcriptHash,
      kits: [...kitHashes],
      custody: annex.digest,
    },
    { state: home.state, agent: home.agent, now },
  );
  await enter(home, [record], now);
  for (const receipt of receipts) await confirmReceipt(home, receipt, now);
  return receipts.length;
}
