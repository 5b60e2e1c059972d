/** The objects of one State on an S3 engine, each under the State's own prefix. */
import { toHex } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { openS3Site } from "../sites/s3.ts";
import { readS3File } from "../sites/s3-file.ts";
import type { SiteIdentity } from "../sites/site.ts";
import { isNamedSo } from "../vault/named-bytes.ts";
import type { Storage } from "./storage.ts";

/** Files of the ledger that were replaced and that nothing covers yet. */
const WANTED_MAX = 4096;

/**
 * Opens the engine that the file describes. Where a name has several versions, that one counts which the name, or the
 * ledger, says.
 *
 * @param expectedLedgerFile what a file of the ledger holds, once the ledger covers it
 */
export async function openS3Storage(
  file: string,
  state: string,
  identity: SiteIdentity,
  expectedLedgerFile: (name: string) => Uint8Array | undefined,
): Promise<Storage & { readonly close: () => void }> {
  const { config, lock } = await readS3File(file);
  const wanted = new Map<string, string>();
  const site = await openS3Site({ ...config, prefix: `${config.prefix}${state}/` }, identity, {
    lock,
    verify: (name, bytes) => {
      if (!name.startsWith("ledger/")) return isNamedSo(name, bytes, state);
      const expected = expectedLedgerFile(name);
      if (expected) return Buffer.compare(expected, bytes) === 0;
      return wanted.get(name) === toHex(sha256(bytes));
    },
  });
  return {
    site,
    locks: site.locks,
    replace: async (name, parts) => {
      wanted.set(name, toHex(sha256(...parts)));
      const [oldest] = wanted.keys();
      if (wanted.size > WANTED_MAX && oldest !== undefined) wanted.delete(oldest);
      // A version that does not verify gives way to one that does.
      await site.put(name, parts);
    },
    remove: (name) => site.destroy(name),
    storedAt: async (name) => (await site.versions(name))[0]?.storedAt,
    ...(site.locks ? { extend: (name: string, until: Date) => site.extend(name, until) } : {}),
    // A version that is locked for a day at each breath would be many: to be there and listed is what is asked.
    canary: async () => {
      await site.stat(`charter/${state}`);
    },
    close: () => site.close(),
  };
}
