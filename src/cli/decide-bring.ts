/** `decide submit --site`: a paper brought to sites by who has it, not by way of home. */
import { envelopeId } from "../crypto/dsse.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { mergeProposals, type Proposal } from "../governance/proposal.ts";
import { fingerprintOf } from "../sites/self-signed.ts";
import { formatSiteAddress, openAt, parseSiteAddress } from "../vault/site-address.ts";
import type { Terminal } from "./terminal.ts";

const NAME_DIGITS = 12;

type Brought = { readonly site: string; readonly enforces: boolean; readonly key?: string };
type Failed = { readonly site: string; readonly problem: string };

/**
 * Brings the paper with all the signatures of its copies to every address. A site that enforces counts it by these;
 * anywhere else it waits for who reads it there.
 *
 * @returns the sites that did not take it
 * @throws ExclaveError `usage` for a paper that nobody has signed, `site-unavailable` when no site took it
 */
export async function bringToSites(
  terminal: Terminal,
  proposals: readonly Proposal[],
  addresses: readonly string[],
): Promise<readonly Failed[]> {
  const [first] = proposals;
  if (!first) throw new ExclaveError("usage", "give the file of what is to be brought there");
  const envelope = mergeProposals(proposals);
  const name = `${first.kind}/${envelopeId(envelope)}`;
  const brought: Brought[] = [];
  const failed: Failed[] = [];
  for (const site of new Set(addresses)) {
    try {
      brought.push(await bring(site, first.state, name, envelope));
    } catch (error) {
      if (!isExclaveError(error) || error.code === "bug") throw error;
      failed.push({ site, problem: error.message });
    }
  }
  const problems = failed.map(({ site, problem }) => `${site} did not take it: ${problem}`);
  if (brought.length === 0) {
    const more = "Nothing was changed; bring the same file again, to these or to others";
    throw new ExclaveError("site-unavailable", `${problems.join("; ")}. ${more}`);
  }
  terminal.result({ brought: { kind: first.kind, id: first.id, name, sites: brought }, failed }, [
    `The ${first.kind} ${first.id.slice(0, NAME_DIGITS)} was brought:`,
    ...brought.map((one) => `  ${effectOf(one, first.kind)}`),
    ...problems.map((problem) => `  ${problem}`),
    ...(brought.some(({ key }) => key !== undefined)
      ? [
          "Compare the keys with the sites' in your notes: whoever answers there could say that it counts.",
        ]
      : []),
  ]);
  return failed;
}

async function bring(
  text: string,
  state: string,
  name: string,
  envelope: Uint8Array,
): Promise<Brought> {
  const address = parseSiteAddress(text);
  const at = formatSiteAddress(address);
  const identity = { name: at, country: "?", operator: "?", hazardZone: "?" };
  const { site, key } = await openAt(address, { identity, state });
  await site.put(name, [envelope]);
  return { site: at, enforces: key !== undefined, ...(key ? { key: fingerprintOf(key.id) } : {}) };
}

function effectOf({ site, enforces, key }: Brought, kind: Proposal["kind"]): string {
  if (!enforces) return `${site}: it lies there, and home takes it in when it runs the next time.`;
  const effect =
    kind === "decision"
      ? "it has it; its wait there begins when the ledger has it too, cosigned"
      : "it counts there now; sites that know each other tell each other, and home takes it in when it runs the next time";
  return `${site} (key ${key}): ${effect}.`;
}
