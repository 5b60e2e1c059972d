/** What anybody may ask, on the listener for States and on the plain one: the program, the witness, the notice. */
import type { FastifyInstance, FastifyRequest } from "fastify";
import { PROGRAM_PATH, WITNESS_PATH } from "../sites/wire.ts";
import { notHere, tooLong } from "./answers.ts";
import type { BodyRoom } from "./body-room.ts";
import { BODY_BYTES_MAX, type Limits } from "./limits.ts";
import type { Route } from "./metrics.ts";
import { noticeHtml, noticeText, type ShownNotice } from "./notice.ts";
import type { Program } from "./program-file.ts";
import { readBody } from "./read-body.ts";
import { contentLengthOf } from "./routes-objects.ts";
import { type SiteWitness, witnessAnswer } from "./witness.ts";

export type CommonRoutes = {
  readonly witness: SiteWitness;
  /** The packed program, when the site holds one. */
  readonly program: Program | undefined;
  readonly notices: () => readonly ShownNotice[];
};

export type CommonGround = {
  readonly limits: Limits;
  readonly strangersRoom: BodyRoom;
  readonly note: (request: FastifyRequest, route: Route) => void;
  /** Counts a stranger's request. Throws when there are too many. */
  readonly take: (request: FastifyRequest) => void;
};

const YEAR_SECONDS = 366 * 86_400;

export function registerCommon(
  app: FastifyInstance,
  common: CommonRoutes,
  ground: CommonGround,
): void {
  app.post(`${WITNESS_PATH}/add-checkpoint`, async (request, reply) => {
    ground.note(request, "witness");
    ground.take(request);
    const bytes = contentLengthOf(request.raw);
    if (bytes > BODY_BYTES_MAX.addCheckpoint) throw tooLong();
    const { limits, strangersRoom } = ground;
    const signal = new AbortController().signal;
    const held = await strangersRoom.take(bytes, "", limits.roomMsMax, signal);
    try {
      await readBody(request.raw, held.bytes, limits);
      const asked = Uint8Array.from(held.bytes);
      const { status, contentType, body } = await witnessAnswer(common.witness, asked);
      return reply.code(status).type(contentType).send(Buffer.from(body));
    } finally {
      held.release();
    }
  });

  app.get(PROGRAM_PATH, async (request, reply) => {
    ground.note(request, "program");
    ground.take(request);
    const { program } = common;
    if (!program) throw notHere();
    const etag = `"${program.sha256}"`;
    reply.headers({
      etag,
      "cache-control": `public, max-age=${YEAR_SECONDS}, immutable`,
      "content-type": "application/gzip",
      "content-length": program.bytes,
    });
    if (request.headers["if-none-match"] === etag) {
      return reply.removeHeader("content-length").code(304).send();
    }
    return reply.send(program.open());
  });

  app.get("/", async (request, reply) => {
    ground.note(request, "notice");
    ground.take(request);
    const wantsHtml = (request.headers.accept ?? "").includes("text/html");
    const notices = common.notices();
    return reply
      .headers({
        "cache-control": "no-cache",
        "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",
        "x-content-type-options": "nosniff",
      })
      .type(wantsHtml ? "text/html; charset=utf-8" : "text/plain; charset=utf-8")
      .send(wantsHtml ? noticeHtml(notices) : noticeText(notices));
  });
}
