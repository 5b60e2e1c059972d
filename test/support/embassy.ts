/**
 * A State of five seats for tests: a real home, real directories for sites, a recovery key in shares, and every
 * key in the test's hands, so that it can do what a thief of any of them could. Founded once, copied for each test.
 */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { momentOf, writeCharter } from "../../src/charter/charter.ts";
import { addSignature, type Decision, signPaper } from "../../src/charter/decision.ts";
import { openDecision } from "../../src/charter/history.ts";
import type { Order } from "../../src/charter/orders.ts";
import { fromHex } from "../../src/crypto/bytes.ts";
import { envelopeId } from "../../src/crypto/dsse.ts";
import type { SigningKey } from "../../src/crypto/signing.ts";
import { type ShareSet, splitSecret } from "../../src/custody/share-set.ts";
import { peopleOf, personOf } from "../../src/governance/annex.ts";
import { draftDecision, enactRipe, submit } from "../../src/governance/decide.ts";
import { createState, draftState, publicPartOf } from "../../src/governance/found.ts";
import { enter, openAllSites, publish } from "../../src/governance/ledger-at-sites.ts";
import { addRegister } from "../../src/governance/registers.ts";
import { addSite } from "../../src/governance/sites.ts";
import { type LedgerKey, verifierKeysOf, witnessKeyFromSeed } from "../../src/ledger/log-key.ts";
import { formatVerifierKey } from "../../src/ledger/note.ts";
import { addCheckpoint, formatAddCheckpoint, type WitnessStore } from "../../src/ledger/witness.ts";
import { SqliteWitnessStore } from "../../src/ledger/witness-store.ts";
import { type ProtectReport, protect } from "../../src/registers/protect.ts";
import { keySource, type RecoverReport, recover } from "../../src/registers/recover.ts";
import { homeAsSource, restore } from "../../src/registers/restore.ts";
import { Catalog } from "../../src/vault/catalog.ts";
import { Home } from "../../src/vault/home.ts";
import { type RecoveryKey, recoveryKeyFromSeed } from "../../src/vault/recovery-key.ts";
import { constitution, HOME_AND_ABROAD, keyOf } from "./charter.ts";

const DAY_MS = 86_400_000;
/** So long ago it was founded: whatever a test lets happen has happened by now, whose clock it ever was. */
const AGE_DAYS = 500;
export const PLACES = ["bb", "kn", "lu", "ee"] as const;
const STATE_NAME = "Belize";
const CONTENT = "Who owns which land";
const GROUNDS = { reason: "Because it is needed", citation: "Act 7 of 2026, section 3" };

/** Three witnesses abroad, each with a memory and a clock of its own. */
export type Watch = readonly { readonly key: LedgerKey; readonly store: WitnessStore }[];

export class Embassy {
  readonly folder: string;
  readonly recovery: RecoveryKey;
  /** Of the recovery key: 2 of 3. */
  readonly shares: ShareSet;
  readonly watch: Watch;
  /** What was said to the people at work. */
  readonly notices: string[] = [];
  readonly #begunMs: number;
  #home: Home;
  #outputs = 0;

  private constructor(
    folder: string,
    home: Home,
    parts: Pick<Embassy, "recovery" | "shares" | "watch"> & { readonly begunMs: number },
  ) {
    this.folder = folder;
    this.#home = home;
    this.recovery = parts.recovery;
    this.shares = parts.shares;
    this.watch = parts.watch;
    this.#begunMs = parts.begunMs;
  }

  /** Founds it; with witnesses of whom so many must have seen what counts, it has no sites and no register. */
  static async found(folder: string, quorum = 0): Promise<Embassy> {
    const begunMs = Math.floor(Date.now() / 1000) * 1000 - AGE_DAYS * DAY_MS;
    const now = new Date(begunMs);
    const recovery = recoveryKeyFromSeed(randomBytes(32));
    const shares = splitSecret(recovery.seed, { k: 2, n: 3, generation: 1 }, randomBytes);
    const people = peopleOf(["a", "b", "c"]);
    const draft = draftState({
      stateName: STATE_NAME,
      now,
      constitution: {
        ...constitution,
        seats: constitution.seats.map((seat) => ({
          ...seat,
          until: momentOf(new Date(begunMs + 9 * 365 * DAY_MS)),
        })),
      },
      recovery: {
        ...publicPartOf(recovery),
        shares: {
          ...shares.publicPart,
          shareCommitments: [...shares.publicPart.shareCommitments],
        },
        holders: ["a", "b", "c"].map((name, index) => ({
          index,
          office: `Key holder ${name}`,
          jurisdiction: "BZ",
          person: personOf(people.salt, name),
        })),
      },
      people,
      retentionSeconds: 0,
      releaseDelaySeconds: 86_400,
    });
    const watch = quorum === 0 ? [] : ["one", "two", "three"].map(newWitness);
    const { charter } = draft.founding;
    const witnesses = watch.map(({ key }) => ({
      name: key.name,
      keys: verifierKeysOf(key).map(formatVerifierKey),
    }));
    const founding = writeCharter({ ...charter, ledger: { ...charter.ledger, witnesses, quorum } });
    const home = await createState(join(folder, "home"), { ...draft, founding }, { now });
    const embassy = new Embassy(folder, home, { recovery, shares, watch, begunMs });
    if (quorum === 0) await embassy.#furnish();
    return embassy;
  }

  /** Four sites, a register at all of them of which any two bring it back, and a recovery point. */
  async #furnish(): Promise<void> {
    mkdirSync(join(this.folder, "data"));
    writeFileSync(join(this.folder, "data", "land"), CONTENT);
    const now = this.day(0);
    for (const name of PLACES) {
      const country = name.toUpperCase();
      const site = {
        name,
        country,
        operator: name,
        hazardZone: country,
        at: this.site(name),
      };
      const given = await addSite(this.home, site, now);
      assert.ok(given?.status === "proposed");
      await submit(this.home, [this.sign(given.decision)], now);
    }
    const part = { name: "land", kind: "files", path: join(this.folder, "data") } as const;
    const parts = [{ ...part, excludes: [], oneFileSystem: false }];
    const plan = { name: "land", sites: [...PLACES], k: 2, survive: 1, parts };
    const { given } = await addRegister(this.home, plan, now);
    assert.ok(given.status === "proposed");
    await submit(this.home, [this.sign(given.decision)], now);
    await this.publish();
    await this.protect(1);
  }

  /** The same State, with the same past and another future. */
  async copy(folder: string): Promise<Embassy> {
    cpSync(this.folder, folder, { recursive: true });
    const config = join(folder, "home", "config.json");
    writeFileSync(config, readFileSync(config, "utf8").replaceAll(this.folder, folder));
    return new Embassy(folder, await Home.open(join(folder, "home")), {
      recovery: this.recovery,
      shares: this.shares,
      watch: this.watch.map(({ key }) => ({ key, store: new SqliteWitnessStore(":memory:") })),
      begunMs: this.#begunMs,
    });
  }

  get home(): Home {
    return this.#home;
  }

  /** So many days after it was founded. */
  day(days: number): Date {
    return new Date(this.#begunMs + days * DAY_MS);
  }

  /** A key that lies in home's files. */
  secret(name: "agent" | "ledger"): Uint8Array {
    const file = readFileSync(join(this.folder, "home", "keys", `${name}.json`), "utf8");
    return fromHex((JSON.parse(file) as { readonly secret: string }).secret, 32);
  }

  site(name: string): string {
    return join(this.folder, name);
  }

  /** A decision with signatures, of the people named or with the keys given. */
  sign(decision: Decision, keys: readonly (string | SigningKey)[] = HOME_AND_ABROAD): Uint8Array {
    const [first, ...others] = keys.map((key) => (typeof key === "string" ? keyOf(key) : key));
    assert.ok(first);
    let envelope = signPaper(decision, first);
    for (const key of others) {
      envelope = addSignature(openDecision(envelope, this.home.state, this.home.charter), key);
    }
    return envelope;
  }

  /** What home would have signed, and what its author says otherwise. */
  async draft(order: Order, days: number, changes: Partial<Decision> = {}): Promise<Decision> {
    return { ...(await draftDecision(this.home, order, GROUNDS, this.day(days))), ...changes };
  }

  /** A decision of enough seats, in the ledger since that day. Returns its id. */
  async decide(order: Order, days: number): Promise<string> {
    const envelope = this.sign(await this.draft(order, days));
    return (await submit(this.home, [envelope], this.day(days))).id;
  }

  /** What home does when it runs on that day. Returns how many decisions took effect. */
  async enact(days: number): Promise<number> {
    return enactRipe(this.home, this.day(days));
  }

  /** What a captured home can do: any bytes into the ledger, under any date. Returns their name. */
  async force(
    kind: "decision" | "veto" | "freeze" | "charter",
    bytes: Uint8Array,
    days: number,
  ): Promise<string> {
    await enter(this.home, [{ kind, id: envelopeId(bytes), bytes }], this.day(days));
    return envelopeId(bytes);
  }

  /** Every witness sees home's newest checkpoint, each on the day that its own clock says. */
  async witnessed(...days: readonly (number | undefined)[]): Promise<void> {
    await this.home.withLedger((log) => {
      const latest = log.latest();
      assert.ok(latest);
      const { size, checkpoint } = latest;
      for (const [i, { key, store }] of this.watch.entries()) {
        const at = days[i];
        if (at === undefined) continue;
        const oldSize = store.latest(log.origin)?.head.size ?? 0;
        const proof = oldSize === 0 ? [] : log.consistency(oldSize, size);
        const answer = addCheckpoint(
          { key, logs: new Map([[log.origin, log.keys]]), store },
          formatAddCheckpoint({ oldSize, proof, checkpoint }),
          this.day(at).getTime() / 1000,
        );
        assert.ok(answer.status === 200);
        log.addCosignatures(size, answer.cosignatures, verifierKeysOf(key));
      }
    });
    this.home.refresh();
  }

  async publish(home = this.home): Promise<void> {
    const failures = await publish(home, await openAllSites(home));
    assert.deepEqual([...failures], []);
  }

  async protect(days: number, home = this.home): Promise<ProtectReport> {
    const catalog = new Catalog(home.catalogPath, home.state);
    try {
      return await protect({
        home,
        catalog,
        register: "land",
        now: this.day(days),
        workers: 1,
        onNotice: (notice) => this.notices.push(notice),
      });
    } finally {
      catalog.close();
    }
  }

  /** Takes over from the home that was, into one of that name. */
  async recover(
    days: number,
    options: {
      readonly sites?: readonly string[];
      readonly as?: string;
      readonly key?: RecoveryKey;
    } = {},
  ): Promise<RecoverReport> {
    const { sites = PLACES, as = "next", key = this.recovery } = options;
    return recover({
      home: join(this.folder, as),
      key: keySource({ seed: key.seed, state: this.home.state }),
      sites: sites.map((name) => this.site(name)),
      acceptStale: false,
      now: this.day(days),
      onNotice: (notice) => this.notices.push(notice),
    });
  }

  /** The newest recovery point comes back as it was. */
  async restores(home = this.home): Promise<void> {
    const catalog = new Catalog(home.catalogPath, home.state);
    const target = join(this.folder, `out-${this.#outputs++}`);
    try {
      await restore({
        source: homeAsSource(home),
        catalog,
        register: "land",
        choice: {},
        target,
        paths: [],
        overwrite: false,
        keepGoing: false,
        numericOwner: false,
        workers: 1,
      });
    } finally {
      catalog.close();
    }
    const [land] = readdirSync(target, { recursive: true, withFileTypes: true }).filter((entry) =>
      entry.isFile(),
    );
    assert.equal(land && readFileSync(join(land.parentPath, land.name), "utf8"), CONTENT);
  }

  /** The objects of a kind at a site, by name, with their bytes. */
  objects(site: string, kind: string): ReadonlyMap<string, Uint8Array> {
    const top = join(this.site(site), kind);
    if (!existsSync(top)) return new Map();
    const files = readdirSync(top, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name));
    return new Map(files.map((file) => [basename(file), readFileSync(file)]));
  }

  /** Puts an object at sites, under the name that its bytes have or under another's. */
  plant(kind: string, bytes: Uint8Array, options: PlantOptions = {}): string {
    const { name = createHash("sha256").update(bytes).digest("hex"), sites = PLACES } = options;
    for (const site of sites) {
      const folder = join(this.site(site), kind, name.slice(0, 2));
      mkdirSync(folder, { recursive: true });
      writeFileSync(join(folder, name), bytes);
    }
    return name;
  }

  /** Puts other bytes in the place of what sites hold of a kind, where `change` gives some. Returns the names. */
  replace(
    kind: string,
    change: (bytes: Uint8Array, name: string) => Uint8Array | undefined,
    sites: readonly string[] = PLACES,
  ): readonly string[] {
    const names = new Set<string>();
    for (const site of sites) {
      for (const [name, bytes] of this.objects(site, kind)) {
        const other = change(bytes, name);
        if (!other) continue;
        this.plant(kind, other, { name, sites: [site] });
        names.add(name);
      }
    }
    assert.ok(names.size > 0, `there is something of the kind ${kind} to replace`);
    return [...names];
  }

  /** Takes objects away; all of a kind unless told which. */
  hide(
    kind: string,
    isIt: (name: string) => boolean = () => true,
    sites: readonly string[] = PLACES,
  ): void {
    for (const site of sites) {
      const names = [...this.objects(site, kind).keys()].filter(isIt);
      assert.ok(names.length > 0, `site ${site} has what is to be hidden`);
      for (const name of names) rmSync(join(this.site(site), kind, name.slice(0, 2), name));
    }
  }

  /** Everything at the sites and in home's ledger, as one hash: equal when nothing was written. */
  async fingerprint(): Promise<string> {
    const hash = createHash("sha256");
    for (const site of existsSync(this.site("bb")) ? PLACES : []) {
      const files = readdirSync(this.site(site), { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name));
      for (const file of files.toSorted()) hash.update(`${file}\0`).update(readFileSync(file));
    }
    hash.update(await this.home.withLedger((log) => log.head().root));
    return hash.digest("hex");
  }
}

export type PlantOptions = { readonly name?: string; readonly sites?: readonly string[] };

function newWitness(name: string): Watch[number] {
  return {
    key: witnessKeyFromSeed(randomBytes(32), `witness-${name}`),
    store: new SqliteWitnessStore(":memory:"),
  };
}
