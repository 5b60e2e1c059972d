/** Addresses to listen at, as people write them: "127.0.0.1:7444", "[::1]:7444". */
import { ExclaveError } from "../errors.ts";
import type { Listener } from "../site-daemon/settings.ts";

/** Throws `usage`. */
export function listenerFlag(text: string): Listener {
  const [, six, four, port] =
    /^(?:\[([0-9A-Fa-f:]+)\]|([0-9A-Za-z._-]+)):(\d{1,5})$/.exec(text) ?? [];
  const host = six ?? four;
  if (host !== undefined && Number(port) <= 65_535) return { host, port: Number(port) };
  throw new ExclaveError(
    "usage",
    `"${text}" is no address to listen at; write 0.0.0.0:7443, or [::]:7443. Nothing was made`,
  );
}
