import assert from "node:assert/strict";
import { test } from "node:test";
import { ed25519 } from "@noble/curves/ed25519.js";
import { ml_dsa44 } from "@noble/post-quantum/ml-dsa.js";
import fc from "fast-check";
import { logKey, memoryTree, ORIGIN, witnessKeys } from "../../test/support/ledger.ts";
import { concat, fromBase64, fromHex, utf8 } from "../crypto/bytes.ts";
import { exportPublic, importPrivate, ML_DSA_44 } from "../crypto/key-objects.ts";
import { openCheckpoint } from "./checkpoint.ts";
import { checkSignature, cosign, signHead } from "./cosignature.ts";
import { witnessKeyFromSeed } from "./log-key.ts";
import { leafHash } from "./merkle.ts";
import {
  COSIGNATURE_ML_DSA_44,
  formatSignatureLine,
  parseSignatureLines,
  verifierKey,
} from "./note.ts";
import { formatTreeHead, parseTreeHead } from "./tree-head.ts";

const [witness] = witnessKeys as [(typeof witnessKeys)[0]];
const head = memoryTree(5).head(5);
const text = formatTreeHead(head);
const TIME = 1679315147;
const keys = [witness.ed25519.verifier, witness.mlDsa44.verifier];

const u64 = (value: bigint): Uint8Array => {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value);
  return bytes;
};
/** The structure of tlog-cosignature, written out once more. */
const cosignedMessage = (name: string, time: bigint, size: bigint): Uint8Array =>
  concat(
    fromHex("737562747265652f76310a00"),
    Uint8Array.of(name.length),
    utf8(name),
    u64(time),
    Uint8Array.of(ORIGIN.length),
    utf8(ORIGIN),
    u64(0n),
    u64(size),
    head.root,
  );

test("both cosignatures verify and give back their time", () => {
  for (const time of [0, 1, TIME, 2 ** 53 - 1]) {
    const signatures = cosign(witness, head, time);
    assert.deepEqual(
      signatures.map(({ signature }, i) => checkSignature(keys[i]!, text, signature)),
      [time, time],
    );
    assert.deepEqual(
      signatures.map(({ signature }) => signature.byteLength),
      [72, 2428],
    );
  }
});

test("noble verifies both over the messages that tlog-cosignature specifies", () => {
  const [one, two] = cosign(witness, head, TIME);
  const message = utf8(`cosignature/v1\ntime ${TIME}\n${text}`);
  assert.ok(ed25519.verify(one.signature.subarray(8), message, keys[0]!.publicBytes));
  const structure = cosignedMessage(witness.name, BigInt(TIME), 5n);
  assert.ok(ml_dsa44.verify(two.signature.subarray(8), structure, keys[1]!.publicBytes));
  for (const { signature } of [one, two])
    assert.deepEqual(signature.slice(0, 8), u64(BigInt(TIME)));
});

test("the line of transparency-dev/formats' note_cosigv1_test.go has the key id and time given there", () => {
  const line =
    "— witness ZGhGuQAAAABm/qTPeyKXD+R2rzyQsxPiP8mXum7qq/iF0u4vanlqJyocWODBt97w9uL+8qT7S5gxEHWWOworDcFiEBYJXORmnFBOBA==\n";
  const [read] = parseSignatureLines(utf8(line));
  assert.equal(read?.keyId, 0x646846b9);
  assert.equal(read?.signature.byteLength, 72);
  assert.deepEqual(read?.signature.slice(0, 8), u64(1727964367n));
  assert.equal(formatSignatureLine(read!), line);
});

/** filippo.io/torchwood, cmd/litewitness/testdata/mldsa.txt: the log's seed, and the line it signed without a time. */
const TORCHWOOD_SEED = "2886adc2b0eabfce67c0472939127998bf886cf256bfee8ba76a253fce1146e0";
const TORCHWOOD_LINE =
  "— example.com/mldsa-log td9FxQAAAAAAAAAAkjFvCxC6244QGemHL0hurmk5M3Hj6noQQtBM1TiwnC1lFmT+t+cUG9W0ENlRQtV20lJFLKCzoJ08ulQEkfiVueKHeMyURh97Iup0R9d41Monv472jkyfDoX3ILyX/kEOuSV4Ed2tU4VmtDSbP0rofMWAbKJRMnzCpNIT5xMe3tRbWLVTvAtnX9OB4UMKL1dvGS/uuhqW9Ddjik2D8veitBvk3TbQcT8fanSyZqCbDZ5zzw5JS3Gu5oD1zK7z+KiyqbzKUhglESs7YXFbeU0E03FrXdAPYS6GAuZtBWTJp4DEm4rL+NqU6Xp0n2ehhqd1rFAJUAcsE5CFakQdlmKkkzVMy3VZYll5ptS0amlYfGqX6/N9bJAYdAoWWpdgCep5eXCutQcTQXc69UocKT99/vholeAP1097GfS+hNL2ndNS2ieMnj8XLD1LCHVoBjKZUIObB0lx3leGRe9VjYgTRAY2WlE+K32b6Iz1rKzzDD8YBNQdkHgdx44uPOU3I+8szYS6NzQ2Z0QlqAtz0j9vZu9yEUUxCEORAiMAHLtV5oWZ/RvSE7qq5B0b8WrHGPGoR/qUNK4ECmlIe/SRo6M7yRrPs3das3ox1bkC3f92c98ewHLeQtLwwsqQJny6rlYaiaiPMxgdT2CVcJEcKOfaK8pdy2fucBDxHrQitpGkeLJLmWk6LLxR/Ut6s6xNyyKSuZlVslS40n9MJ837uMmJFyecKPliwAj8HzTWQywSkMpEQfJyr4i2Kfa2paOZ4izmotRTfdvbFWlWFwuGLWOQ0X/pKaExpdNDwqahAwbfGkw/iHbsV7ZIlNIuSNs2ccQvnjM8xqkT6sYYVxYiHpmk5sOwGsdeiMdwQqn7Q/Lz+uc3F6k/r0Ox7MJTX6fPhFdhe8RJg/77USR/MIGiT4YZHV+XgrtbV0jvMEgB4yEOircsScaBmLv18tTn1GiGlzFjK/s7gOzjk70jf1qCZ1MNgDAPstd/5sXdwYON0FnA5zPUp9yMkq1/wZq+DuePQDT6nj8zgFrkrvl8s7nibKKaL2bKcje5YP3CFcXLZoESZnC3BJkV85VqXlAKl+dctM3vNfMVrqk3/boBARw27mdKLsysIREkWR4caByW0csjL3Js9tn1hB0yf6hIGo8mvPIUjPIXn1rFSSKWkQlq15wu2gwEo9FdVF5beMdF4LVwuO9PZ1Y4oXuRE2pIzMWq/jEzHAZ7GucP7yzU78X767ucrwO/AXjMlLUsLLFZaQcHHBsrQJLpy5w1Jn/L7XFyR2g0lBOdT+lSOhx7j33oIlzxmqdR47ovtkg+LJpbAJG7n/JiQ/h/xffe3VdqSsrB8S4ltKz+rq51swoZ59zmRzWaoNkyWX0eu0E7y6EfpfrKEmr0H+fYtVnJvCznWFKzbv7oDXKC0pOyKZsNctvFwhSGEEURCs1G+4IrAEWG2Y231thQ8HdMvaMcm+ocvBGhZjmE7bXFkdiJ7S09csFjljFDGCiGRiU+flxkyiqpa1DDgeFRWOEyNAdMeY2iQMTJU9ApqNVrPpjGbg7kL0HrfKCQM236d16DKfXIiUmZw/NONKnrliAIs6/WSzKdW/JUyTLiKfPV1ItODmw5eNz7lV36dR8g3us/bpWp4OaDIInrLxYZRfkLHLvXGGg5ogY2k/FMno/3UBbS0QfstK+ByB/pFVYCHWgDjctwpOHaqAAXAiWHAUh1KOpXBMv8qndpzhsYhvKbrL371aBST0e3iPW/K4x+kFfgdeClsftS9RnE8KDCf4Uz+9QMP9sxj4+ZACztE19eBVaSvCqv54wO6n5248UzbqPXzA1dweKQziw/FnPWC7qMrcs3jDi6PBPhpruk1xBy08MQg58l4YzuXrPm5gAyiUAyfNszvhTotaU02oljhvg24CycDo/2PvQY7sBmisIsVVeHssiRxg23CMgWHaPMDn6OM+IhF2xaAqJOjfnsFBWlvMg8LxsrBnOQ1YABVLLtMvCSaIvgBjPt8XtLn9gZ0HL9OvGsR3efWHTR5p4nZyuHH2Nm8F3nWKVkEI4p4H6Yo5O0hkzCi1ZB7QT3uEIeR0Hq3g/bLTzmm6XzsjWSmQ8CtPapmXX476QT44wU0CWJ096SqUGUq2ZCDg3kFkV0BuKPIfLCt4sYK9bjj8UZCqkhyHbVm2x+HQwk8mNnDbUd7PK89riPjA33KX0Sw32RE0uKtB0sC8m7t028aEupsRx56/M0jBgeYmEHuRrXpW9nuOkQPTBaHdmYBHNkzTF2arPzZK3diFuhKPvmSQh2CN6g8r0p3EN+dmps1fIUfHM6emkEuaod+ZG83vyJsyd5B2oPMTVP12z8VJtDRAYfA5bRj+HEw2aD4f23u/Zq3PHk2C9T5LTAu28WCuO/EpXGSIkq1/hRpyE0qhJSnPN9/iE74PoU1OgjGBv6uSUsNhNZJeMe2W23s8EAyStB5+u83IBgUctrGwXzNdoC9LY1p+kNFSAZXIggNB3alVzoS+D9rcCYTUAafpkdwLaYq5/w0wRchljkG61rl+gZCiwtqZv3SHVxO7kRTAzfHsGDB1yc/9Sz++IMGyFHYvuqtclhpHPPToFByaVl687b1P4t2i/U4fWPZ4BBhN5Q7HGTxubspw1GY2MjBYU5OXvEJu9aWeibkM/fg6QrxPRYNsJBNJQRywMjYHj6AefrZeGXGxSNgS50kCNBvV7XTli/17y3MFgR4WfNmBK3BqKb87v3DBMVnLHcqvw1ZVjFPv91q0XYaDdVFHqOnS4Fh5nfwh1qfuvKrUZlwFPcwW+pG4YDyjx90MTFugpQ6KfEusmUhB5Dqr79nYWbOhW3e0PCEZtxmVrH9EtCHEgO6wnkWjPke6XULARu0ECF1gZvQczEjKfzxCt6Rknz+27lXyzgzRyHWxr0kB/pFty+8IebrDfIW9757d+1QLonDTmkLQiirF0ygsgQALmk1KljcHD/qiAZPHh5YX+Q2VdDfIfGeMXmCg3nX5r5DINcx47fNHtgWeGn8MjF8Hnff6x+ZU/7YqcBrDOvGqn46FBvuRY0+mWkRo576207vQR/023owl7pXZ5p/75V5yDkTZWDtXsfKjpypcxrWIBsg5GC25nZdjQQGBtFUF1pfn+xvunq9AEIFidYY2Vyc3mYw8TW7PkVKis5PENhdbfJHDtIdIiQsLe+1Nr+/wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA4eKDU=\n";

test("a log signature that torchwood made with ML-DSA-44 verifies, and no other head or name does", () => {
  const name = "example.com/mldsa-log";
  const publicBytes = exportPublic(ML_DSA_44, importPrivate(ML_DSA_44, fromHex(TORCHWOOD_SEED)));
  const key = verifierKey(name, COSIGNATURE_ML_DSA_44, publicBytes);
  const torchwood = { origin: name, size: 1, root: leafHash(utf8("testonly")) };
  const checkpoint = utf8(`${formatTreeHead(torchwood)}\n${TORCHWOOD_LINE}`);
  const { head: read, signed } = openCheckpoint(checkpoint, [key]);
  assert.deepEqual(read.root, fromBase64("+zoErtsZtGO6sfiSV/v4UJSIyowisE8hvjw0q5+bD38="));
  assert.deepEqual(
    signed.map(({ seconds }) => seconds),
    [0],
  );

  const signature = signed[0]!.signature.signature;
  assert.equal(
    checkSignature(key, formatTreeHead({ ...torchwood, size: 2 }), signature),
    undefined,
  );
  assert.equal(
    checkSignature(key, formatTreeHead({ ...torchwood, origin: "x" }), signature),
    undefined,
  );
  const renamed = verifierKey("example.com/other", COSIGNATURE_ML_DSA_44, publicBytes);
  assert.equal(checkSignature(renamed, formatTreeHead(torchwood), signature), undefined);
});

test("an altered bit, time, head, key or length does not verify", () => {
  const signatures = cosign(witness, head, TIME).map(({ signature }) => signature);
  fc.assert(
    fc.property(fc.nat(1), fc.nat(), fc.nat(7), (which, at, bit) => {
      const altered = Uint8Array.from(signatures[which]!);
      altered[at % altered.length]! ^= 1 << bit;
      assert.equal(checkSignature(keys[which]!, text, altered), undefined);
    }),
    { numRuns: 300 },
  );
  for (const [i, signature] of signatures.entries()) {
    const key = keys[i]!;
    const root = memoryTree(6).head(6).root;
    for (const other of [
      { ...head, size: 6 },
      { ...head, origin: "x" },
      { ...head, root },
    ])
      assert.equal(checkSignature(key, formatTreeHead(other), signature), undefined);
    const later = concat(u64(BigInt(TIME + 1)), signature.subarray(8));
    assert.equal(checkSignature(key, text, later), undefined);
    const others = [witnessKeys[1]!.ed25519.verifier, witnessKeys[1]!.mlDsa44.verifier];
    assert.equal(checkSignature(others[i]!, text, signature), undefined);
    const lengths = [signature.subarray(1), signature.subarray(8), concat(signature, u64(0n))];
    for (const wrong of [new Uint8Array(), ...lengths])
      assert.equal(checkSignature(key, text, wrong), undefined);
  }
});

test("a time after 2^63 - 1, or after 2^53 - 1, does not verify although it is what was signed", () => {
  const seeded = witnessKeyFromSeed(new Uint8Array(32).fill(10), witness.name);
  const { privateKey } = seeded.ed25519;
  const jwk = privateKey.export({ format: "jwk" });
  const secret = new Uint8Array(Buffer.from(String(jwk.d), "base64url"));
  for (const [time, expected] of [
    [2n ** 53n - 1n, 2 ** 53 - 1],
    [2n ** 53n, undefined],
    [2n ** 63n - 1n, undefined],
    [2n ** 63n, undefined],
    [2n ** 64n - 1n, undefined],
  ] as const) {
    const message = utf8(`cosignature/v1\ntime ${time}\n${text}`);
    const signature = concat(u64(time), ed25519.sign(message, secret));
    assert.equal(checkSignature(keys[0]!, text, signature), expected);
  }
});

test("a signature of one kind is none of another, though the Ed25519 key be the same", () => {
  const seed = new Uint8Array(32).fill(1);
  const asWitness = witnessKeyFromSeed(seed, ORIGIN);
  const log = signHead(logKey.ed25519, head, 0);
  const [cosignature] = cosign(asWitness, head, TIME);
  const logVerifier = logKey.ed25519.verifier;
  assert.deepEqual(logVerifier.publicBytes, asWitness.ed25519.verifier.publicBytes);
  assert.equal(checkSignature(logVerifier, text, log.signature), 0);
  assert.equal(checkSignature(logVerifier, text, cosignature.signature.subarray(8)), undefined);
  const stamped = concat(u64(BigInt(TIME)), log.signature);
  assert.equal(checkSignature(asWitness.ed25519.verifier, text, stamped), undefined);
});

test("nothing but a checkpoint without extension lines is cosigned or verified as one", () => {
  const signatures = cosign(witness, head, TIME);
  for (const [i, { signature }] of signatures.entries())
    for (const other of ["not a checkpoint\n", `${text}extension\n`])
      assert.throws(() => checkSignature(keys[i]!, other, signature), { code: "malformed" });
  assert.throws(() => cosign(logKey, head, TIME), { code: "bug" });
  for (const time of [-1, 0.5, 2 ** 53, Number.NaN])
    assert.throws(() => cosign(witness, head, time), { code: "bug" });
});

test("the example of tlog-cosignature is read: a log's line, and a witness's of 1679315147", () => {
  const checkpoint =
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n" +
    "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n" +
    "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";
  const lines = checkpoint.slice(checkpoint.indexOf("\n\n") + 2);
  const [log, one] = parseSignatureLines(utf8(lines));
  assert.equal(log?.signature.byteLength, 64);
  assert.equal(one?.signature.byteLength, 72);
  assert.deepEqual(one?.signature.slice(0, 8), u64(1679315147n));
  const body = checkpoint.slice(0, checkpoint.indexOf("\n\n") + 1);
  assert.equal(parseTreeHead(body).origin, "example.com/behind-the-sofa");
});
