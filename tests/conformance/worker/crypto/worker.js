// crypto: digests, keys, random values and the Workers additions.
import { answer, caught, thrown } from "./probe.js";

const utf8 = (text) => new TextEncoder().encode(text);
const digest = (alg) => crypto.subtle.digest(alg, utf8("abc"));
const hmacKey = (usages = ["sign", "verify"]) => crypto.subtle.importKey("raw", utf8("key"), { name: "HMAC", hash: "SHA-256" }, false, usages);
const aesKey = (name) => crypto.subtle.importKey("raw", new Uint8Array(16), name, false, ["encrypt", "decrypt"]);
const probes = {
  sha1: () => digest("SHA-1"),
  sha256: () => digest("SHA-256"),
  sha384: () => digest({ name: "sha-384" }),
  sha512: () => digest("SHA-512"),
  md5: () => digest("MD5"),
  unknownDigest: async () => (await caught(() => digest("SHA-3")))[0],
  hmac: async () => crypto.subtle.sign("HMAC", await hmacKey(), utf8("message")),
  hmacVerify: async () => { const k = await hmacKey(); const s = await crypto.subtle.sign("HMAC", k, utf8("m")); return [await crypto.subtle.verify("HMAC", k, s, utf8("m")), await crypto.subtle.verify("HMAC", k, s, utf8("n"))]; },
  hmacWrongUsage: async () => (await caught(async () => crypto.subtle.sign("HMAC", await hmacKey(["verify"]), utf8("m"))))[0],
  keyShape: async () => { const k = await hmacKey(); return [k.type, k.extractable, k.usages, k.algorithm.name, k.algorithm.hash.name, k.algorithm.length, Object.prototype.toString.call(k)]; },
  exportRefused: async () => (await caught(async () => crypto.subtle.exportKey("raw", await hmacKey())))[0],
  aesGcm: async () => crypto.subtle.encrypt({ name: "AES-GCM", iv: new Uint8Array(12) }, await aesKey("AES-GCM"), utf8("plain")),
  aesGcmTampered: async () => (await caught(async () => { const k = await aesKey("AES-GCM"); const alg = { name: "AES-GCM", iv: new Uint8Array(12) }; const c = new Uint8Array(await crypto.subtle.encrypt(alg, k, utf8("plain"))); c[0] ^= 1; return crypto.subtle.decrypt(alg, k, c); }))[0],
  aesCbcRound: async () => { const k = await aesKey("AES-CBC"); const alg = { name: "AES-CBC", iv: new Uint8Array(16) }; return new TextDecoder().decode(await crypto.subtle.decrypt(alg, k, await crypto.subtle.encrypt(alg, k, utf8("plain text")))); },
  pbkdf2: async () => crypto.subtle.deriveBits({ name: "PBKDF2", hash: "SHA-256", salt: utf8("salt"), iterations: 2 }, await crypto.subtle.importKey("raw", utf8("pw"), "PBKDF2", false, ["deriveBits"]), 128),
  hkdf: async () => crypto.subtle.deriveBits({ name: "HKDF", hash: "SHA-256", salt: utf8("salt"), info: utf8("info") }, await crypto.subtle.importKey("raw", utf8("pw"), "HKDF", false, ["deriveBits"]), 128),
  ecdsa: async () => { const { privateKey, publicKey } = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, true, ["sign", "verify"]); const alg = { name: "ECDSA", hash: "SHA-256" }; const s = await crypto.subtle.sign(alg, privateKey, utf8("m")); return [s.byteLength, await crypto.subtle.verify(alg, publicKey, s, utf8("m"))]; },
  ed25519: async () => { const { privateKey, publicKey } = await crypto.subtle.generateKey("Ed25519", true, ["sign", "verify"]); const s = await crypto.subtle.sign("Ed25519", privateKey, utf8("m")); return [s.byteLength, await crypto.subtle.verify("Ed25519", publicKey, s, utf8("m"))]; },
  jwk: async () => JSON.parse(JSON.stringify(await crypto.subtle.exportKey("jwk", await crypto.subtle.importKey("raw", utf8("0123456789abcdef"), "AES-GCM", true, ["encrypt"])))),
  timingSafeEqual: () => [crypto.subtle.timingSafeEqual(utf8("a"), utf8("a")), crypto.subtle.timingSafeEqual(utf8("a"), utf8("b"))],
  timingSafeLengths: () => thrown(() => crypto.subtle.timingSafeEqual(utf8("a"), utf8("ab"))),
  digestStream: async () => { const s = new crypto.DigestStream("SHA-256"); const w = s.getWriter(); await w.write(utf8("ab")); await w.write(utf8("c")); await w.close(); return [await s.digest, s.bytesWritten]; },
  digestStreamMd5: async () => { const s = new crypto.DigestStream("MD5"); await new Response("abc").body.pipeTo(s); return s.digest; },
  randomUUID: () => /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(crypto.randomUUID()),
  randomValues: () => { const a = new Uint8Array(64); return [crypto.getRandomValues(a) === a, a.some((b) => b !== 0)]; },
  randomTooMany: () => thrown(() => crypto.getRandomValues(new Uint8Array(65537)))[0],
  randomFloat: () => thrown(() => crypto.getRandomValues(new Float32Array(1)))[0],
};
export default { fetch: () => answer(probes) };
