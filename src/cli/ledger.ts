import { readFile } from "node:fs/promises";
import { Command } from "commander";
import { fromBase64 } from "../crypto/bytes.ts";
import { envelopeId } from "../crypto/dsse.ts";
import { parseStrictJson } from "../crypto/strict-json.ts";
import { ExclaveError } from "../errors.ts";
import { proveStatement, type VerifiedProof, verifyStatementProof } from "../governance/prove.ts";
import {
  type NamedPoint,
  newestEntries,
  type ShownSite,
  shownGenerations,
  shownSites,
} from "../governance/show-ledger.ts";
import { PROOF_BYTES_MAX } from "../ledger/proof.ts";
import { chooseSnapshot } from "../registers/snapshots.ts";
import { DOCUMENT_BYTES_MAX } from "../sites/site.ts";
import type { Catalog } from "../vault/catalog.ts";
import type { Home } from "../vault/home.ts";
import { parseId } from "../vault/identifiers.ts";
import { withHome } from "./context.ts";
import { formatTable, formatTime, plural } from "./format.ts";
import { verifyCommand } from "./ledger-verify.ts";
import type { MakeCommand } from "./main.ts";
import { writeNewFile } from "./new-file.ts";

const LAST = 20;
const LAST_MAX = 100_000;

export const ledgerCommand: MakeCommand = (terminal, setExit) => {
  const ledger = new Command("ledger").description(
    "the State's own record of all that counts: charters, decisions, recovery points",
  );
  ledger
    .command("show")
    .description("the newest entries, and what each site holds of them")
    .option("--last <n>", "so many entries", countOf, LAST)
    .action(async ({ last }: { readonly last: number }) => {
      const { home, entries } = await withHome(async (opened, catalog) => ({
        home: opened,
        entries: await newestEntries(opened, last, pointsOf(opened, catalog)),
      }));
      const generations = await home.withGenerations(shownGenerations);
      const sites = await shownSites(home);
      const [newest] = generations.toReversed();
      const rows = entries.map(({ generation, position, kind, time, sentence }) => [
        `${generation}/${position}`,
        time === undefined ? "not yet" : formatTime(time),
        kind,
        sentence,
      ]);
      terminal.result({ state: home.state, generations, entries, sites }, [
        ...formatTable([["entry", "counts since", "kind", ""], ...rows]),
        "",
        ...generations.map(
          ({ generation, origin, entries: all, closed }) =>
            `Generation ${generation} (${origin}): ${plural(all, "entry", "entries")}${closed ? ", closed" : ""}`,
        ),
        `Head: ${newest?.root ?? ""}`,
        ...sites.map((site) => `  ${siteLine(site)}`),
      ]);
    });
  ledger.addCommand(verifyCommand(terminal, setExit));
  ledger
    .command("prove")
    .argument("<register>")
    .argument("[snapshot]", "the recovery point, by the start of its id (default: the newest)")
    .description("write a proof that a recovery point was in the ledger, for people outside")
    .requiredOption("--out <file>", "where the proof goes (C2SP tlog-proof)")
    .option("--policy-out <file>", "where to write whom to believe (C2SP tlog-policy)")
    .option("--statement-out <file>", "where to write what is proven, by itself")
    .addHelpText(
      "after",
      "\nWho verifies needs the proof and the policy, and must have the policy from you by a way\nthat they trust. Neither says what is in the register, or what it is called.",
    )
    .action(async (register: string, snapshot: string | undefined, flags: ProveFlags) => {
      const { row, proof } = await withHome(async (home, catalog) => {
        const choice = snapshot === undefined ? {} : { snapshot };
        const chosen = chooseSnapshot(catalog, home.register(register), choice);
        return { row: chosen, proof: await proveStatement(home, chosen.envelope) };
      });
      if (!proof.carriesStatement && flags.statementOut === undefined) {
        throw new ExclaveError(
          "usage",
          "the statement of this recovery point is too large to be in the proof. Nothing was written; give --statement-out FILE too",
        );
      }
      const out = await writeNewFile(flags.out, proof.proof);
      const policy = flags.policyOut && (await writeNewFile(flags.policyOut, proof.policy));
      const statement =
        flags.statementOut && (await writeNewFile(flags.statementOut, row.envelope));
      const { generation, position, size } = proof;
      terminal.result(
        {
          register,
          snapshot: row.id,
          generation,
          position,
          size,
          proof: out,
          ...(policy ? { policyFile: policy } : {}),
          ...(statement ? { statement } : {}),
          policy: Buffer.from(proof.policy).toString(),
        },
        [
          `${out} proves that the recovery point ${row.id.slice(0, 12)} of ${formatTime(row.time)} is entry ${position} of the ledger (generation ${generation}, ${size} entries).`,
          ...(policy
            ? [`${policy} says whom to believe.`]
            : ["Whom to believe (--policy-out FILE):", "", ...policyLines(proof.policy), ""]),
          `Anybody verifies it, offline: exclave ledger verify-proof ${flags.out} --policy ${flags.policyOut ?? "POLICY"}`,
        ],
      );
    });
  ledger
    .command("verify-proof")
    .argument("<proof>", "what `exclave ledger prove` wrote")
    .description("verify a proof with nothing but a policy: no home, no site, no network")
    .requiredOption("--policy <file>", "whom to believe: the ledger's keys, and its witnesses")
    .option("--statement <file>", "what it is to prove, where the proof does not carry it")
    .action(async (file: string, flags: VerifyProofFlags) => {
      const proof = await readBounded(file, PROOF_BYTES_MAX);
      const policy = await readBounded(flags.policy, DOCUMENT_BYTES_MAX);
      const given =
        flags.statement === undefined
          ? undefined
          : await readBounded(flags.statement, DOCUMENT_BYTES_MAX);
      const verified = verifyStatementProof(proof, policy, given);
      const { origin, index, size, root, logSeconds, cosigners, entry } = verified;
      const time = new Date(logSeconds * 1000).toISOString();
      const says = statedIn(verified);
      terminal.result(
        {
          proven: true,
          origin,
          position: index,
          size,
          root: Buffer.from(root).toString("hex"),
          time,
          witnesses: cosigners.map(({ witness, seconds }) => ({
            witness,
            time: new Date(seconds * 1000).toISOString(),
          })),
          quorum: verified.policy.quorum,
          statement: entry.envelope,
          ...(says ? { says } : {}),
        },
        [
          `Proven: the statement ${entry.envelope} is entry ${index} of the ledger ${origin}.`,
          `  It was there when the ledger had ${plural(size, "entry", "entries")}, at ${formatTime(time)} as the ledger says.`,
          ...(cosigners.length > 0
            ? cosigners.map(
                ({ witness, seconds }) =>
                  `  Seen by ${witness} at ${formatTime(new Date(seconds * 1000).toISOString())}.`,
              )
            : ["  The policy asks for no witness: the time is the ledger's word alone."]),
          ...(says
            ? [
                `  It speaks of recovery point ${says.sequence} of the register ${says.register}, begun ${says.time}.`,
              ]
            : []),
          "It does not prove that the sites still hold it: that is `exclave check`.",
        ],
      );
    });
  return ledger;
};

type ProveFlags = {
  readonly out: string;
  readonly policyOut?: string;
  readonly statementOut?: string;
};

type VerifyProofFlags = { readonly policy: string; readonly statement?: string };

function countOf(text: string): number {
  if (/^[1-9]\d{0,5}$/.test(text) && Number(text) <= LAST_MAX) return Number(text);
  throw new ExclaveError("usage", `${text} is not a number from 1 to ${LAST_MAX}`);
}

/** The recovery points that home knows, by the statement that the ledger names. */
function pointsOf(home: Home, catalog: Catalog): (statement: string) => NamedPoint | undefined {
  const points = new Map<string, NamedPoint>();
  for (const { id: register, name } of home.config.registers) {
    for (const { id, time, envelope } of catalog.snapshots(parseId("RegisterId", register))) {
      points.set(envelopeId(envelope), { register: name, id, time: formatTime(time) });
    }
  }
  return (statement) => points.get(statement);
}

function siteLine({ site, entries, relation, unavailable }: ShownSite): string {
  if (unavailable !== undefined) return `${site}: does not answer (${unavailable})`;
  if (relation === "same") return `${site}: has all of it`;
  if (relation === "fork") return `${site}: HAS ANOTHER LEDGER: exclave ledger verify`;
  if (relation === "ahead")
    return `${site}: has ${entries} entries, more than home: exclave rebuild`;
  return `${site}: has ${plural(entries ?? 0, "entry", "entries")} of it`;
}

function policyLines(policy: Uint8Array): readonly string[] {
  return Buffer.from(policy).toString().trimEnd().split("\n");
}

/** What the statement that was proven says of itself; the ledger vouches for its bytes. */
function statedIn({
  statement,
}: VerifiedProof):
  | { readonly register: string; readonly sequence: number; readonly time: string }
  | undefined {
  if (!statement) return undefined;
  try {
    const { payload } = parseStrictJson(statement) as { readonly payload?: unknown };
    const said = parseStrictJson(fromBase64(String(payload))) as Record<string, unknown>;
    const { register, sequence, time } = said;
    if (typeof register !== "string" || !/^[0-9a-f]{32}$/.test(register)) return undefined;
    if (typeof sequence !== "number" || typeof time !== "string") return undefined;
    return { register, sequence, time: new Date(time).toISOString() };
  } catch {
    // Whatever it is, the ledger has it; there is nothing to say of it.
    return undefined;
  }
}

async function readBounded(file: string, bytesMax: number): Promise<Uint8Array> {
  const bytes = await readFile(file).catch((cause: unknown) => {
    throw new ExclaveError("usage", `${file} cannot be read`, { cause });
  });
  if (bytes.length <= bytesMax) return bytes;
  throw new ExclaveError("malformed", `${file} is too large to be what it should be`);
}
