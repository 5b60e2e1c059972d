import { readFile } from "node:fs/promises";
import { Command } from "commander";
import { toBase64 } from "../crypto/bytes.ts";
import { ExclaveError } from "../errors.ts";
import { parseByteSize } from "../platform/units.ts";
import { contactOf, type Grant, newGrant, readGrants, writeGrant } from "../site-daemon/grant.ts";
import { readSettings } from "../site-daemon/settings.ts";
import { openGrantRequest } from "../sites/grant-request.ts";
import { fingerprintOf, SELF_SIGNED_BYTES_MAX } from "../sites/self-signed.ts";
import { formatBytes, formatTable, formatTime } from "./format.ts";
import { confirmed } from "./passphrase.ts";
import { type FolderFlag, folderOption } from "./site-folder.ts";
import type { Terminal } from "./terminal.ts";

const HELP = `
The State's home makes the request: exclave site request. Compare the fingerprint with them by
telephone. A site that runs takes the grant up by itself. The same State again: a new quota, or
another agent. To end a grant, delete its file in grants/; what is stored stays.`;

export function siteGrantCommand(terminal: Terminal): Command {
  return new Command("grant")
    .description("at a site: let a State in, by the request that it sent")
    .argument("<file>", "the State's request")
    .addOption(folderOption())
    .option(
      "--quota <size>",
      "what it may store, for instance 2TB (default: as it asks)",
      (text: string) => parseByteSize(text, "--quota"),
    )
    .option("--yes", "the fingerprint was compared: do not ask", false)
    .addHelpText("after", HELP)
    .action(async (file: string, flags: GrantFlags) => {
      await readSettings(flags.folder);
      const { request, key } = openGrantRequest(await requestBytes(file));
      const { state, name, quotaBytes: wished, time } = request;
      const before = (await readGrants(flags.folder)).grants.get(state);
      const quotaBytes = flags.quota ?? wished;
      for (const line of [
        `${name} asks to be served.`,
        "",
        `  State id      ${state}`,
        `  fingerprint   ${fingerprintOf(key.id)}   of its agent's key`,
        `  quota         ${formatBytes(quotaBytes)}${quotaBytes === wished ? "" : ` (it asks for ${formatBytes(wished)})`}`,
        `  asked on      ${formatTime(time)}`,
        ...(before ? ["", ...changes(before, name, key.id)] : []),
        "",
      ]) {
        terminal.say(line);
      }
      const without =
        "no terminal to ask at. Compare the fingerprint, then give --yes; nothing was granted";
      if (!flags.yes && !(await confirmed('Type "yes" when it is theirs: ', without))) {
        throw new ExclaveError("interrupted", "not confirmed; nothing was granted");
      }
      const granted = { state, name, contact: toBase64(key.bytes), quotaBytes };
      // What the operator has set in an older one stays.
      const grant: Grant = before ? { ...before, ...granted } : newGrant(granted);
      await writeGrant(flags.folder, grant);
      terminal.result({ granted: shown(grant), replaced: before !== undefined }, [
        `${name} may store ${formatBytes(quotaBytes)} at this site.`,
      ]);
    });
}

/** What another grant for the same State changes that its operator should see. */
function changes(before: Grant, name: string, keyId: string): readonly string[] {
  const agent = contactOf(before).id;
  return [
    `It is served already, as ${before.name}, with ${formatBytes(before.quotaBytes)}.`,
    ...(before.name === name ? [] : [`It had another name: ${before.name}.`]),
    ...(agent === keyId ? [] : [`It had another agent: ${fingerprintOf(agent)}. Ask why.`]),
  ];
}

export function siteGrantsCommand(terminal: Terminal): Command {
  return new Command("grants")
    .description("at a site: the States that it serves")
    .addOption(folderOption())
    .action(async ({ folder }: FolderFlag) => {
      await readSettings(folder);
      const { grants, problems } = await readGrants(folder);
      for (const problem of problems) terminal.notice(problem);
      const all = [...grants.values()].map(shown);
      const rows = all.map(({ name, state, quotaBytes, fingerprint }) => [
        name,
        state,
        formatBytes(quotaBytes),
        fingerprint,
      ]);
      terminal.result(
        { grants: all, problems },
        rows.length === 0
          ? ["No State is served yet. Next: exclave site grant REQUEST"]
          : formatTable([["State", "id", "quota", "its agent"], ...rows]),
      );
    });
}

function shown(grant: Grant) {
  const { state, name, quotaBytes } = grant;
  return { state, name, quotaBytes, fingerprint: fingerprintOf(contactOf(grant).id) };
}

type GrantFlags = FolderFlag & { readonly quota?: number; readonly yes: boolean };

async function requestBytes(file: string): Promise<Uint8Array> {
  const bytes = await readFile(file).catch((cause: unknown) => {
    throw new ExclaveError("usage", `the request ${file} cannot be read. Nothing was granted`, {
      cause,
    });
  });
  if (bytes.length <= SELF_SIGNED_BYTES_MAX) return bytes;
  throw new ExclaveError("malformed", `${file} is too large to be a State's request`);
}
