/**
 * What a kit's page tells its holder to do, in HTML. Read by a stressed person, perhaps in ten years,
 * and by whoever takes the page from them: of being forced it says what holds for every holder, and
 * nothing by which to tell one holder's arrangements from another's. `INSTRUCTIONS_VERSION` in kit.ts
 * numbers these words; it is raised with every change of their meaning.
 */

/** Which share of how many. */
export interface Holding {
  readonly k: number;
  readonly n: number;
  /** 0 to n - 1. */
  readonly index: number;
  /** What opens the kit. */
  readonly opener: "passphrase" | "age identity";
}

/** How many are needed and may be lost, as people say it; text without markup. */
export function thresholdRule(k: number, n: number): string {
  if (n === 1) return "This kit alone brings the State back. Nobody else has one.";
  if (k === n) {
    return `All ${n} key holders together bring the State back; none of the ${n} kits may be lost.`;
  }
  const lost = `you can lose ${n - k}, and with ${n - k + 1} lost nobody can do it any more`;
  if (k === 1) return `Any 1 of these ${n} key holders brings the State back; ${lost}.`;
  return `Any ${k} of these ${n} key holders bring the State back; ${lost}.`;
}

/** The instructions, headings included. No names are in them, so nothing in them needs escaping. */
export function instructions({ k, n, index, opener }: Holding): string {
  const divided = n === 1 ? "locked away in this kit" : `divided among ${n} key holders`;
  const what = n === 1 ? "It is" : "This is one share of it,";
  const others = k === 2 ? "One more key holder has" : `${k - 1} more key holders have`;
  const alone =
    k === 1
      ? `<b>With your ${opener} this kit opens everything.</b> Guard it like the registers themselves.`
      : `By itself it opens nothing. ${others} to come with theirs.`;
  const enough = k === 1 ? "When it is" : `When ${k} good shares are there`;
  const typed = opener === "passphrase";
  const keep = typed
    ? "never on this page. Nobody else has it, and nobody can give you a new one for this kit."
    : "in two places, and never with this page. It is the line that begins with AGE-SECRET-KEY-PQ-1, or the device that holds it. Nobody else has it, and nobody can make it anew.";
  const forced = k === 1 ? "" : "Your share alone gives nobody anything.";
  return [
    "<h2>What this is</h2>",
    `<p>The registers of the State are kept abroad, encrypted. The key to them was ${divided}. ${what} locked with your ${opener}. ${alone}</p>`,
    "<ul>",
    "<li>Keep this page, and the file of the same kit, where fire, water and thieves do not come.</li>",
    `<li>Keep your ${opener} somewhere else, ${keep}</li>`,
    `<li>Nobody has the right to ask you for your ${opener}, not by telephone, letter or e-mail, and not in person. You type it yourself, and let nobody watch.</li>`,
    "<li>Once a year you are asked to show that you can still open your share. It takes five minutes.</li>",
    "</ul>",
    "<h2>When the State has to be brought back</h2>",
    "<ol>",
    `<li>Meet ${n === 1 ? "those" : "the other key holders, and those"} who lead the recovery. Compare the fingerprint above with theirs. If it differs, stop.</li>`,
    "<li>Take a computer that was newly set up and that none of you has reason to distrust. Install Exclave on it; each of the sites below keeps a copy.</li>",
    "<li>Start it with <code>exclave recover</code>. It asks for the sites, and then for the kits, one after another.</li>",
    `<li>When it is your turn (you are key holder ${index + 1}), give it your kit: the file, or else the codes on this page, or else the text at its end, typed. Then type your ${opener}.</li>`,
    `<li>It says whether your share is good. ${enough}, it does the rest; before it goes on, it tells you how old the newest records are.</li>`,
    "</ol>",
    "<p>If it refuses your share, nothing is lost, and it says why: a slip in typing, a damaged page, or a kit that was replaced by a newer one. Try again, try another copy, or call another key holder.</p>",
    "<h2>If you lose this kit, or somebody may have seen it</h2>",
    `<p>Tell the State or another key holder at once, at any hour. Nobody will blame you. The key is divided anew, and everyone gets a new kit. The same is done when you ${typed ? "forget" : "lose"} your ${opener} or leave your office. Keep this kit until you are told that the new ones were tested.</p>`,
    "<h2>If somebody forces you</h2>",
    `<p>Your life and your family come first. Do what you are told; nobody expects you to resist. ${forced} The sites abroad do not hand out at once what they keep, and people abroad can stop it. As soon as you are safe, tell the State, another key holder, or one of the sites below.</p>`,
  ].join("\n");
}
