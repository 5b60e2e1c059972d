/** Enough key holders fall into somebody's hands, who asks for a closed epoch, and a signatory abroad stops it. */
import { readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { signPaper } from "../../charter/decision.ts";
import { sentenceOf } from "../../charter/sentences.ts";
import { wipe } from "../../crypto/bytes.ts";
import { envelopeId } from "../../crypto/dsse.ts";
import type { SigningKey } from "../../crypto/signing.ts";
import { ExclaveError, invariant, isExclaveError } from "../../errors.ts";
import { give } from "../../governance/carry-out.ts";
import { draftDecision, draftVeto, enactRipe, submit } from "../../governance/decide.ts";
import { openAllSites, publish } from "../../governance/ledger-at-sites.ts";
import { openSignatoryKey } from "../../governance/signatory-key.ts";
import { protect } from "../../registers/protect.ts";
import { Catalog, type PackRow } from "../../vault/catalog.ts";
import type { Home } from "../../vault/home.ts";
import { parseId } from "../../vault/identifiers.ts";
import { recoveryKeyFromSeed } from "../../vault/recovery-key.ts";
import { shardName } from "../../vault/shard.ts";
import { withState } from "../context.ts";
import { plural } from "../format.ts";
import { registerNames as namesAtHome } from "../proposed.ts";
import { openKits } from "./bare-machine.ts";
import { decideWith, officesOf, paperOf, usual, withPublished } from "./decisions.ts";
import type { Founded, KeyHolder, Signatory } from "./founding.ts";
import { hosts } from "./hosts.ts";
import { holdersCaptured, vetoingSeat } from "./people.ts";
import { asking } from "./sites.ts";
import { type RegisterName, type Stage, showProtect, showStep, timed } from "./stage.ts";

const REGISTER: RegisterName = "national-identity";
/** Where the veto is brought to. */
const BROUGHT_TO = "ee";
const TOLD_SECONDS_MAX = 30;
const LOOK_EVERY_MS = 50;
/** The delay of a site begins when it has followed what home published a moment ago. */
const FOLLOWED_WITHIN_MS = 1000;
const FRONT_BYTES = 16;

/** What the sites gave of an epoch's packs, asked for every shard of them. */
export type Given = {
  readonly packs: number;
  readonly asked: number;
  readonly refused: number;
  /** Of the pack of which most shards were given. */
  readonly mostOfOnePack: number;
  readonly why: string;
};

export type Captured = {
  /** Offices of those whose kits they have. */
  readonly holders: readonly string[];
  readonly register: string;
  readonly epoch: number;
  readonly needed: number;
  readonly before: Given;
  readonly decision: string;
  readonly delaySeconds: number;
  readonly vetoedBy: string;
  readonly broughtTo: string;
  /** Sites that were told of the veto by that one. */
  readonly toldTo: readonly string[];
  /** Home, which is captured too, let it take effect in the ledger all the same. */
  readonly tookEffectInLedger: boolean;
  readonly after: Given;
  readonly good: boolean;
};

/** Chapter 10: three kits in one hand, and what the sites make of it. */
export async function releaseByForce(stage: Stage, founded: Founded): Promise<Captured> {
  const { page } = stage;
  const { home } = founded;
  const holders = founded.holders.filter(({ number }) => holdersCaptured.includes(number));
  page.heading("10. Three key holders are captured, and home with them");
  const { epoch, packs, k } = await closeEpoch(stage, founded);
  page.text(
    `${officesOf(holders)} are made to hand over their kits. Whoever has these has the recovery key, ` +
      `and asks all ${hosts.length} sites, in its name, for ${REGISTER} as it was: epoch ${epoch}, which is closed since ` +
      "the State gave the register new keys a moment ago.",
  );
  page.gap();
  const recovery = await recoveryFrom(home, holders);
  const before = await askForAll(stage, home, packs, recovery);
  sayGiven(stage, before, k);

  page.gap();
  page.text("So they order its release. For that the recovery key can sign alone:");
  page.command(`exclave decide propose release ${REGISTER} --epochs ${epoch} --to recovery`);
  page.command(
    `exclave decide sign release.json ${holders.map(({ number }) => `--kit ${number}.kit.json`).join(" ")}`,
  );
  const release = await orderRelease(home, epoch, recovery);
  page.gap();
  page.text(release.sentence);
  page.text(
    `But the sites publish it, and wait: ${plural(founded.releaseDays, "day")} in life; ` +
      `${founded.releaseSeconds} seconds here. One seat is enough to stop it.`,
  );
  page.gap();
  const { office, toldTo, seconds } = await vetoAbroad(stage, founded, release);
  const country = countryOf(BROUGHT_TO);
  page.text(
    `The ${office} reads it at ${country}'s site, signs a veto, and brings it there: not by way of home, ` +
      `which is not asked. ${country} tells the others; ${seconds.toFixed(1)} seconds later all ${toldTo.length + 1} have it.`,
  );
  const tookEffectInLedger = await enactAnyway(stage, home, release);
  const after = await askForAll(stage, home, packs, recovery);
  page.text(
    `Home, in the same hands, passes the veto over: ${tookEffectInLedger ? "by its ledger the release took effect" : "the ledger does not follow"}. ` +
      "The delay is over, and they ask again:",
  );
  sayGiven(stage, after, k);
  const good =
    [before, after].every((given) => given.mostOfOnePack < k) && toldTo.length === hosts.length - 1;
  page.text(
    good
      ? "(The epoch that is open is given to the recovery key at once, for that is how a lost home comes back: so " +
          "epochs end. In life a State would now divide a new recovery key; this demo goes on with the one it has.)"
      : "WHAT IS CLOSED WAS GIVEN OUT, OR A SITE WAS NOT TOLD: this demo has failed.",
  );
  return {
    holders: holders.map((holder) => holder.office),
    register: REGISTER,
    epoch,
    needed: k,
    before,
    decision: release.id,
    delaySeconds: founded.releaseSeconds,
    vetoedBy: office,
    broughtTo: BROUGHT_TO,
    toldTo,
    tookEffectInLedger,
    after,
    good,
  };
}

/** By decision the register goes on under new keys. Returns the epoch that is closed by that, with its packs. */
async function closeEpoch(stage: Stage, { home, signatories }: Founded) {
  const register = home.register(REGISTER);
  const { epoch, k } = register;
  const order = { kind: "rotate-epoch", register: register.id } as const;
  const grounds = { reason: "A year is over", citation: "Data Embassy Act, section 7" };
  const rotation = paperOf(await give(home, order, grounds, new Date()));
  showStep(stage, "beginning a new epoch");
  const catalog = new Catalog(home.catalogPath, home.state);
  try {
    // All that there are: it is the first epoch.
    const packs = [...catalog.packsOf(parseId("RegisterId", register.id))];
    await timed(stage, "begin a new epoch", async () => {
      await decideWith(home, [rotation], usual(signatories));
      const onProgress = showProtect(stage, REGISTER);
      const now = new Date();
      const next = await protect({ home, catalog, register: REGISTER, now, onProgress });
      invariant(next.epoch > epoch, "what is written after the decision is of the next epoch");
    });
    stage.terminal.endProgress();
    return { epoch, k, packs };
  } finally {
    catalog.close();
  }
}

/** The recovery key's signing half, from kits that were opened by whoever holds their owners. */
async function recoveryFrom(home: Home, holders: readonly KeyHolder[]): Promise<SigningKey> {
  const source = await openKits(holders);
  const secret = source.secretFor(home.charter.recovery.shares);
  try {
    return recoveryKeyFromSeed(secret).signing;
  } finally {
    wipe(secret);
  }
}

/** Asks each site for its shard of every pack. */
async function askForAll(
  { sites }: Stage,
  { state }: Home,
  packs: readonly PackRow[],
  signer: SigningKey,
): Promise<Given> {
  const given = new Map<string, number>();
  let [asked, refused, why] = [0, 0, ""];
  await Promise.all(
    hosts.map(({ site }, index) =>
      asking(sites.of(site), { state, signer }, async (remote) => {
        for (const { id } of packs) {
          asked++;
          try {
            await remote.read(shardName(id, index), 0, new Uint8Array(FRONT_BYTES));
            given.set(id, (given.get(id) ?? 0) + 1);
          } catch (error) {
            if (!isExclaveError(error, "refused")) throw error;
            refused++;
            why = error.message;
          }
        }
      }),
    ),
  );
  return {
    packs: packs.length,
    asked,
    refused,
    mostOfOnePack: Math.max(0, ...given.values()),
    why,
  };
}

function sayGiven(
  { page }: Stage,
  { packs, refused, asked, mostOfOnePack, why }: Given,
  k: number,
): void {
  page.text(
    `Of ${asked} shards ${refused} are refused. Of each of the ${plural(packs, "pack")} they are shown ` +
      `${mostOfOnePack}, as any auditor is; it takes ${k}.`,
  );
  page.text(`exclave: ${why}`);
}

type Release = {
  readonly id: string;
  readonly envelope: Uint8Array;
  readonly sentence: string;
  readonly until: Date;
};

async function orderRelease(home: Home, epoch: number, recovery: SigningKey): Promise<Release> {
  const { id: register } = home.register(REGISTER);
  const order = { kind: "release" as const, register, epochs: [epoch], to: "recovery" as const };
  const grounds = { reason: "None is given", citation: "none" };
  const decision = await draftDecision(home, order, grounds, new Date());
  const envelope = signPaper(decision, recovery);
  const sentence = sentenceOf(order, home.charter, namesAtHome(home));
  const { id } = await withPublished(home, () => submit(home, [envelope], new Date()));
  const until = new Date(Date.now() + home.charter.releaseDelaySeconds * 1000 + FOLLOWED_WITHIN_MS);
  return { id, envelope, sentence, until };
}

/** A signatory finds the release at a site, and brings a veto there. Resolves when all other sites have it. */
async function vetoAbroad(stage: Stage, { home, signatories }: Founded, release: Release) {
  const { state } = home;
  const signatory = signatories.find(({ seat }) => seat === vetoingSeat);
  invariant(signatory, "there is such a seat");
  const key = await keyOf(signatory);
  const veto = signPaper(
    draftVeto(state, release.id, "Nobody free asks for this", new Date()),
    key,
  );
  const name = `veto/${envelopeId(veto)}`;
  await asking(stage.sites.of(BROUGHT_TO), { state }, async (remote) => {
    // Whoever knows the State's id is shown its decisions.
    invariant(
      await remote.stat(`decision/${envelopeId(release.envelope)}`),
      "it is published there",
    );
    await remote.put(name, [veto]);
  });
  const others = hosts.map(({ site }) => site).filter((site) => site !== BROUGHT_TO);
  showStep(stage, "waiting for the sites to tell each other");
  const { seconds } = await timed(stage, "the sites tell each other", () =>
    Promise.all(others.map((site) => untilHeld(stage, state, site, name))),
  );
  return { office: signatory.office, toldTo: others, seconds };
}

async function keyOf({ keyFile, passphrase }: Signatory): Promise<SigningKey> {
  return openSignatoryKey(await readFile(keyFile), { passphrase });
}

async function untilHeld(stage: Stage, state: string, site: string, name: string): Promise<void> {
  await asking(stage.sites.of(site), { state }, async (remote) => {
    const end = Date.now() + TOLD_SECONDS_MAX * 1000;
    while (!(await remote.stat(name))) {
      if (Date.now() > end) throw new ExclaveError("site-unavailable", `site ${site} was not told`);
      await delay(LOOK_EVERY_MS);
    }
  });
}

/** What a captured home does: it looks for no objections. Returns whether the ledger says that it took effect. */
async function enactAnyway(stage: Stage, home: Home, { id, until }: Release): Promise<boolean> {
  showStep(stage, "waiting for the delay of a release");
  await timed(stage, "wait for the release", () =>
    delay(Math.max(0, until.getTime() - Date.now())),
  );
  await withState(home, async () => {
    await enactRipe(home, new Date());
    await publish(home, await openAllSites(home));
  });
  return home.known.history.enacted.has(id);
}

function countryOf(name: string): string {
  return hosts.find(({ site }) => site === name)?.country ?? name;
}
