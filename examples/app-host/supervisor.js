// The supervisor: one Durable Object that keeps the apps' code, starts each app as a facet and governs it.
import { DurableObject } from "cloudflare:workers";
import hostModule from "./loaded/host.js.txt";
import { samples } from "./samples/index.js";
import { errorPage } from "./error_page.js";

const COMPATIBILITY_DATE = "2026-09-01";
const NAME_PATTERN = /^[a-z0-9-]{1,40}$/;
const APPS_MAX = 200;
const CODE_CHARS_MAX = 256 * 1024;
const ERROR_CHARS_MAX = 4000;
const RATE_PER_MINUTE_DEFAULT = 300;
const RATE_PER_MINUTE_MAX = 100_000;
/** An app that has not begun its answer by then is stopped. */
const ANSWER_MS_MAX = 10_000;
/** The storage figure is asked for at most this often per app. */
const REPORT_EVERY_MS = 1000;
/** Enforced by the runtime from outside of the app's isolate, for each request. */
const LIMITS = { cpuMs: 500, subRequests: 20, memoryMb: 64, wallMs: ANSWER_MS_MAX, storageMb: 64 };

export class Supervisor extends DurableObject {
  /** When each app was last asked for its storage. Lost with the object, which is fine. */
  #reported = new Map();

  constructor(ctx, env) {
    super(ctx, env);
    this.sql = ctx.storage.sql;
    // Figures change with each request and code does not, so they are kept apart: rewriting a row
    // means rewriting all of its pages.
    this.sql.exec(`
      CREATE TABLE IF NOT EXISTS apps (
        name TEXT PRIMARY KEY,
        uid TEXT NOT NULL,              -- never used again, unlike a name
        code TEXT NOT NULL,
        version INTEGER NOT NULL,       -- grows with every change that needs a new isolate
        egress INTEGER NOT NULL,        -- may the code open connections?
        rate_per_minute INTEGER NOT NULL,
        created INTEGER NOT NULL,
        updated INTEGER NOT NULL
      );
      CREATE TABLE IF NOT EXISTS figures (
        name TEXT PRIMARY KEY,
        requests INTEGER NOT NULL DEFAULT 0,
        limited INTEGER NOT NULL DEFAULT 0,
        errors INTEGER NOT NULL DEFAULT 0,
        last_error TEXT,
        last_error_at INTEGER,
        storage_bytes INTEGER NOT NULL DEFAULT 0,
        tokens REAL NOT NULL,           -- the rate limit's bucket, as it was at tokens_at
        tokens_at INTEGER NOT NULL
      );`);
  }

  // ---- What the host's page does, over RPC. Each returns {app}, or {error, status}. ----

  list() {
    return this.sql.exec("SELECT * FROM apps JOIN figures USING (name) ORDER BY name").toArray().map(summaryOf);
  }

  describe(name) {
    const row = this.#find(name);
    return row ? { app: { ...summaryOf(row), code: row.code } } : notFound(name);
  }

  async create({ name, code, sample, egress = false, ratePerMinute = RATE_PER_MINUTE_DEFAULT }) {
    if (typeof name !== "string" || !NAME_PATTERN.test(name)) {
      return refused("A name has 1 to 40 small letters, digits or dashes.");
    }
    code ??= samples.find(({ id }) => id === sample)?.code;
    const problem = problemWith({ code, egress, ratePerMinute });
    if (problem) return refused(problem);
    if (this.#find(name)) return refused(`There is an app named ${name} already.`, 409);
    if (this.sql.exec("SELECT count(*) AS n FROM apps").one().n >= APPS_MAX) return refused(`This host keeps at most ${APPS_MAX} apps.`, 409);

    const now = Date.now();
    this.sql.exec(
      "INSERT INTO apps VALUES (?, ?, ?, 1, ?, ?, ?, ?)",
      name, crypto.randomUUID(), code, Number(egress), ratePerMinute, now, now,
    );
    this.sql.exec("INSERT INTO figures (name, tokens, tokens_at) VALUES (?, ?, ?)", name, ratePerMinute, now);
    await this.#start(name);
    return this.#summary(name);
  }

  /** Changes what is given. New code runs over the data the old code left. */
  async update(name, change) {
    const row = this.#find(name);
    if (!row) return notFound(name);
    const code = change.code ?? row.code;
    const egress = change.egress ?? Boolean(row.egress);
    const ratePerMinute = change.ratePerMinute ?? row.rate_per_minute;
    const problem = problemWith({ code, egress, ratePerMinute });
    if (problem) return refused(problem);

    const needsNewIsolate = code !== row.code || Number(egress) !== row.egress;
    this.sql.exec(
      "UPDATE apps SET code = ?, egress = ?, rate_per_minute = ?, version = version + ?, updated = ? WHERE name = ?",
      code, Number(egress), ratePerMinute, Number(needsNewIsolate), Date.now(), name,
    );
    if (needsNewIsolate) {
      this.sql.exec("UPDATE figures SET last_error = NULL, last_error_at = NULL WHERE name = ?", name);
      this.ctx.facets.abort(name, new Error("The app was updated while it answered."));
      await this.#start(name);
    }
    return this.#summary(name);
  }

  remove(name) {
    if (!this.#find(name)) return notFound(name);
    // Data first: were the process to die in between, an empty app is left, never an orphan's data
    // for the next app of that name.
    this.ctx.facets.delete(name);
    this.sql.exec("DELETE FROM figures WHERE name = ?", name);
    this.sql.exec("DELETE FROM apps WHERE name = ?", name);
    this.#reported.delete(name);
    return { removed: name };
  }

  // ---- What visitors do. ----

  /** A request for the app named by the header `x-app-name`; its path is already the app's own. */
  async fetch(request) {
    const name = request.headers.get("x-app-name");
    const app = this.#find(name);
    if (!app) return errorPage(request, 404, "No such app", `There is no app named ${name}.`);

    const waitSeconds = this.#takeToken(app);
    if (waitSeconds > 0) {
      return errorPage(
        request, 429, "Too many requests", `This app answers ${app.rate_per_minute} requests per minute. Try again in ${waitSeconds} s.`,
        { "retry-after": String(waitSeconds) },
      );
    }
    try {
      const headers = new Headers(request.headers);
      headers.delete("x-app-name");
      const response = await this.#inTime(app, this.#facet(app).fetch(new Request(request, { headers })));
      this.#reportSoon(app);
      return response;
    } catch (error) {
      return this.#answerFor(request, app, error);
    }
  }

  /** The app as a facet: code in its own isolate, own database, no env, no network unless switched on. */
  #facet(app) {
    return this.ctx.facets.get(app.name, () => this.#startOptions(app));
  }

  /** facetd asks when the alarm of an app is due that does not run. An app that is gone is not started. */
  facetAlarm(name) {
    const app = this.#find(name);
    return app && this.#startOptions(app);
  }

  #startOptions({ name, uid, version, code, egress }) {
    const worker = this.env.LOADER.get(`${name}@${version}/${uid}`, () => ({
      compatibilityDate: COMPATIBILITY_DATE,
      mainModule: "host.js",
      modules: { "host.js": hostModule, "app.js": code },
      env: {},
      globalOutbound: egress ? undefined : null,
      limits: LIMITS,
    }));
    return { class: worker.getDurableObjectClass("Hosted"), id: name };
  }

  /** Starts the app once, so that code that cannot run says so right after it was saved. */
  async #start(name) {
    const app = this.#find(name);
    try {
      const { storageBytes } = await this.#inTime(app, this.#facet(app).hostReport());
      this.#noteStorage(name, storageBytes);
    } catch (error) {
      this.#noteError(app, error);
    }
  }

  /** Waits for an app's answer, and stops the app if there is none in time. */
  async #inTime({ name }, answer) {
    let timer;
    const tooLate = new Promise((_, reject) => {
      timer = setTimeout(() => {
        const error = new TimeoutError(`The app did not answer within ${ANSWER_MS_MAX / 1000} s and was stopped.`);
        this.ctx.facets.abort(name, error);
        reject(error);
      }, ANSWER_MS_MAX);
    });
    try {
      return await Promise.race([answer, tooLate]);
    } finally {
      clearTimeout(timer);
    }
  }

  #answerFor(request, app, error) {
    if (this.#find(app.name)?.version !== app.version) {
      return errorPage(request, 503, "The app has just changed", "Please try again.", { "retry-after": "1" });
    }
    this.#noteError(app, error);
    const detail = messageOf(error);
    if (error instanceof TimeoutError) return errorPage(request, 504, `${app.name} did not answer`, detail);
    // `remote` marks what the app's own code threw while it ran; anything else kept it from running.
    if (error?.remote) return errorPage(request, 500, `${app.name} has failed`, detail);
    return errorPage(request, 502, `${app.name} cannot run`, detail);
  }

  #noteError(app, error) {
    this.sql.exec(
      "UPDATE figures SET errors = errors + 1, last_error = ?, last_error_at = ? WHERE name = ?",
      messageOf(error), Date.now(), app.name,
    );
    // A facet that failed to start keeps its name until it is aborted. Errors of running code
    // (`remote`) and of the way there (`retryable`) are no reason to stop it.
    if (!error?.remote && !error?.retryable && this.#find(app.name)?.version === app.version) this.ctx.facets.abort(app.name, error);
  }

  /** Takes one request out of the app's bucket. Returns the seconds to wait: 0 if there was one. */
  #takeToken({ name, rate_per_minute: rate, tokens, tokens_at: since }) {
    const now = Date.now();
    const available = tokensAt({ rate, tokens, since }, now);
    if (available < 1) {
      this.sql.exec("UPDATE figures SET limited = limited + 1 WHERE name = ?", name);
      return Math.max(1, Math.ceil(((1 - available) * 60) / rate));
    }
    this.sql.exec("UPDATE figures SET requests = requests + 1, tokens = ?, tokens_at = ? WHERE name = ?", available - 1, now, name);
    return 0;
  }

  #reportSoon(app) {
    const now = Date.now();
    if (now - (this.#reported.get(app.name) ?? 0) < REPORT_EVERY_MS) return;
    this.#reported.set(app.name, now);
    const report = this.#facet(app).hostReport();
    this.ctx.waitUntil(report.then(
      ({ storageBytes }) => this.#noteStorage(app.name, storageBytes),
      () => {}, // The app has just been stopped or changed: the next request tells.
    ));
  }

  #noteStorage(name, bytes) {
    if (Number.isSafeInteger(bytes)) this.sql.exec("UPDATE figures SET storage_bytes = ? WHERE name = ? AND storage_bytes <> ?", bytes, name, bytes);
  }

  /** What `list` says about one app, or that it is gone by now. */
  #summary(name) {
    const row = this.#find(name);
    return row ? { app: summaryOf(row) } : notFound(name);
  }

  #find(name) {
    return this.sql.exec("SELECT * FROM apps JOIN figures USING (name) WHERE name = ?", name).toArray()[0];
  }
}

class TimeoutError extends Error {}

/** A bucket holds one minute's worth of requests and refills evenly. */
const tokensAt = ({ rate, tokens, since }, now) => Math.min(rate, tokens + (Math.max(0, now - since) * rate) / 60_000);

const messageOf = (error) => (error instanceof Error ? error.message : String(error)).slice(0, ERROR_CHARS_MAX);
const refused = (error, status = 400) => ({ error, status });
const notFound = (name) => refused(`There is no app named ${name}.`, 404);

function problemWith({ code, egress, ratePerMinute }) {
  if (typeof code !== "string" || !code.trim()) return "There is no code.";
  if (code.length > CODE_CHARS_MAX) return `The code is longer than ${CODE_CHARS_MAX} characters.`;
  if (typeof egress !== "boolean") return "`egress` is true or false.";
  if (!Number.isInteger(ratePerMinute) || ratePerMinute < 1 || ratePerMinute > RATE_PER_MINUTE_MAX) {
    return `\`ratePerMinute\` is a whole number from 1 to ${RATE_PER_MINUTE_MAX}.`;
  }
  return null;
}

function summaryOf(row) {
  const bucket = { rate: row.rate_per_minute, tokens: row.tokens, since: row.tokens_at };
  return {
    name: row.name,
    url: `/apps/${row.name}/`,
    version: row.version,
    created: row.created,
    updated: row.updated,
    egress: Boolean(row.egress),
    requests: row.requests,
    limited: row.limited,
    errors: row.errors,
    lastError: row.last_error === null ? null : { message: row.last_error, at: row.last_error_at },
    storageBytes: row.storage_bytes,
    rate: { perMinute: row.rate_per_minute, left: Math.floor(tokensAt(bucket, Date.now())) },
  };
}
