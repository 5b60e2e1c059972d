/** What a site says it has, page by page, believed in nothing: it may neither repeat itself nor go on for ever. */
import { ExclaveError } from "../errors.ts";
import type { RemoteCaller } from "./remote-request.ts";
import { type ObjectKind, parseObjectName } from "./site.ts";
import { LIST_PAGE_NAMES, listPath } from "./wire.ts";

/** 80 characters and a line feed for each, and the empty line. */
const PAGE_BYTES_MAX = LIST_PAGE_NAMES * 81 + 1;
/** More than all the sites of a State hold. */
const NAMES_MAX = 2 ** 28;

type Page = { readonly names: readonly string[]; readonly isLast: boolean };

/** Names of a kind, in order; the next page comes while one is looked at. */
export async function* listNames(
  caller: RemoteCaller,
  state: string,
  kind: ObjectKind,
): AsyncGenerator<string> {
  let count = 0;
  let ahead: Promise<Page> | undefined = pageAfter(caller, state, kind, undefined);
  while (ahead) {
    const { names, isLast }: Page = await ahead;
    count += names.length;
    if (count > NAMES_MAX) throw new ExclaveError("site-unavailable", "a site lists without end");
    ahead = isLast ? undefined : pageAfter(caller, state, kind, names.at(-1));
    // Whoever stops reading never learns that the next page failed.
    ahead?.catch(() => undefined);
    for (const name of names) yield `${kind}/${name}`;
  }
}

async function pageAfter(
  caller: RemoteCaller,
  state: string,
  kind: ObjectKind,
  after: string | undefined,
): Promise<Page> {
  const room = new Uint8Array(PAGE_BYTES_MAX);
  const answer = await caller.call({
    method: "GET",
    target: listPath(state, kind, after),
    answerBytes: PAGE_BYTES_MAX,
    room: () => room,
  });
  if (answer.status !== 200) {
    const cause = caller.failure(answer);
    throw new ExclaveError("site-unavailable", cause.message, { cause });
  }
  const wrong = (): ExclaveError =>
    new ExclaveError("site-unavailable", "a site lists what is no list of names");
  if (!answer.whole) throw wrong();
  const lines = Buffer.from(answer.body).toString("latin1").split("\n");
  // Every line ends in a line feed, so that nothing, or the empty line that says there is more, is last.
  if (lines.pop() !== "") throw wrong();
  const isLast = lines.at(-1) !== "";
  if (!isLast) lines.pop();
  let latest = after ?? "";
  for (const line of lines) {
    if (line <= latest || !parseObjectName(`${kind}/${line}`)) throw wrong();
    latest = line;
  }
  if (lines.length > LIST_PAGE_NAMES || (!isLast && lines.length === 0)) throw wrong();
  return { names: lines, isLast };
}
