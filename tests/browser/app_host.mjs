// Drives examples/app-host in a real browser, against a server that already runs.
//
//   node tests/browser/app_host.mjs PHASE[,PHASE...] URL [--screenshot FILE.png]
//
// Phases, in the order in which they make sense (the caller restarts the server in between at will):
//   create   makes one app from a sample and one from pasted code through the page, and uses them
//   verify   what the apps stored is still there
//   update   new code over the same data, broken code shown readably, then mended
//   delete   both apps are gone, and so is their data
//
// Environment: CHROMIUM (default /usr/bin/chromium); PLAYWRIGHT_CORE, the folder of an installed
// playwright-core package (default: installed from npm into a temporary directory).
// Node 20 or newer. Exit code 0, 1 (a check failed) or 2 (called wrongly).
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

/** Upper bound of every single wait. */
const WAIT_MS_MAX = 20_000;
const GUESTBOOK = "ui-guestbook";
const PASTED = "ui-pasted";
const ENTRY = { name: "Ada <b>", message: "Here before the restart & after it" };
const SAMPLE_BUTTON = "Sign the guestbook";
const UPDATED_BUTTON = "Leave your mark";

const PASTED_CODE = `import { DurableObject } from "cloudflare:workers";
export class App extends DurableObject {
  fetch() {
    const visits = (this.ctx.storage.kv.get("visits") ?? 0) + 1;
    this.ctx.storage.kv.put("visits", visits);
    return new Response(\`<!doctype html><title>Visits</title><p id="visits">\${visits}</p>\`, { headers: { "content-type": "text/html" } });
  }
}
`;

const PHASES = { create, verify, update, delete: remove };

// ---- Phases ----

async function create(host) {
  await host.getByTestId("new-sample").selectOption("guestbook");
  await host.getByTestId("new-name").fill(GUESTBOOK);
  await host.getByTestId("create").click();
  await card(host, GUESTBOOK).waitFor();

  const book = await openApp(host, GUESTBOOK);
  await book.getByLabel("Your name").fill(ENTRY.name);
  await book.getByLabel("Your message").fill(ENTRY.message);
  await book.getByRole("button", { name: SAMPLE_BUTTON }).click();
  await expectEntry(book);
  await expectContained(book);
  await screenshot(book, "app");
  await book.close();

  await host.getByTestId("new-sample").selectOption("");
  await host.getByTestId("new-name").fill(PASTED);
  await host.getByTestId("new-code").fill(PASTED_CODE);
  await host.getByTestId("create").click();
  await card(host, PASTED).waitFor();
  const pasted = await openApp(host, PASTED);
  await expectText(pasted.locator("#visits"), /^1$/, "a new app starts with no data");
  await pasted.close();

  // The first name again: refused with words, nothing lost.
  await host.getByTestId("new-sample").selectOption("todo");
  await host.getByTestId("new-name").fill(GUESTBOOK);
  await host.getByTestId("create").click();
  await expectText(host.getByTestId("create-problem"), /already/, "a name is given once");

  await expectText(host.getByTestId(`requests-${GUESTBOOK}`), /^[1-9]\d*$/, "the page counts the app's requests");
  await expectText(host.getByTestId(`storage-${GUESTBOOK}`), /^[1-9]\d* KiB$/, "the page shows the app's storage");
  await expectText(host.getByTestId(`rate-${GUESTBOOK}`), /^\d+ \/ 300$/, "the page shows the app's rate limit");
}

async function verify(host) {
  const book = await openApp(host, GUESTBOOK);
  await expectEntry(book);
  await book.close();
  const pasted = await openApp(host, PASTED);
  await expectText(pasted.locator("#visits"), /^([2-9]|\d\d+)$/, "the count goes on where it was");
  await pasted.close();
}

async function update(host) {
  const code = await openEditor(host, GUESTBOOK);
  assert.match(code, new RegExp(SAMPLE_BUTTON), "the editor shows the app's code");
  await host.getByTestId("edit-code").fill(code.replaceAll(SAMPLE_BUTTON, UPDATED_BUTTON));
  await host.getByTestId("edit-save").click();
  await host.getByTestId("edit-dialog").waitFor({ state: "hidden" });
  await expectText(host.getByTestId(`version-${GUESTBOOK}`), /^v2$/, "an update is a new version");
  const book = await openApp(host, GUESTBOOK);
  await book.getByRole("button", { name: UPDATED_BUTTON }).waitFor();
  await expectEntry(book);
  await book.close();

  const before = await openEditor(host, PASTED);
  await host.getByTestId("edit-code").fill(`${before}\nexport class {`);
  await host.getByTestId("edit-save").click();
  await expectText(host.getByTestId("edit-problem"), /SyntaxError[^]*app\.js:\d+/, "the editor names the error and its place");
  await host.getByTestId("edit-cancel").click();
  await expectText(host.getByTestId(`last-error-${PASTED}`), /SyntaxError/, "the list shows the error");
  const broken = await openApp(host, PASTED, 502);
  await expectText(broken.getByTestId("app-error"), /SyntaxError[^]*app\.js:\d+/, "the app's own page shows the error");
  await broken.close();
  await screenshot(host, "broken");

  await openEditor(host, PASTED);
  await host.getByTestId("edit-code").fill(before.replace('id="visits"', 'id="visits" class="mended"'));
  await host.getByTestId("edit-save").click();
  await host.getByTestId("edit-dialog").waitFor({ state: "hidden" });
  const mended = await openApp(host, PASTED);
  await expectText(mended.locator("#visits.mended"), /^([2-9]|\d\d+)$/, "mended code finds the data again");
  await mended.close();
}

async function remove(host) {
  await host.getByTestId(`remove-${GUESTBOOK}`).click();
  await host.getByTestId("remove-cancel").click();
  await host.getByTestId("remove-dialog").waitFor({ state: "hidden" });
  assert.equal(await card(host, GUESTBOOK).count(), 1, "an unconfirmed delete deletes nothing");

  for (const name of [GUESTBOOK, PASTED]) await removeApp(host, name);
  const gone = await host.context().request.get(`${origin}/apps/${GUESTBOOK}/`);
  assert.equal(gone.status(), 404, "a deleted app does not answer");

  // A new app of the old name must not inherit anything.
  await host.getByTestId("new-sample").selectOption("");
  await host.getByTestId("new-name").fill(PASTED);
  await host.getByTestId("new-code").fill(PASTED_CODE);
  await host.getByTestId("create").click();
  await card(host, PASTED).waitFor();
  const again = await openApp(host, PASTED);
  await expectText(again.locator("#visits"), /^1$/, "a new app of an old name starts with no data");
  await again.close();
  await removeApp(host, PASTED);
}

// ---- Steps ----

const card = (host, name) => host.getByTestId(`app-${name}`);

async function openApp(host, name, status = 200) {
  await card(host, name).waitFor();
  const [page] = await Promise.all([host.context().waitForEvent("page"), host.getByTestId(`open-${name}`).click()]);
  await page.waitForURL(`${origin}/apps/${name}/`);
  await page.waitForLoadState();
  const seen = await page.evaluate(() => performance.getEntriesByType("navigation")[0].responseStatus);
  assert.equal(seen, status, `status of the page of ${name}`);
  return page;
}

async function openEditor(host, name) {
  await host.getByTestId(`edit-${name}`).click();
  await host.getByTestId("edit-dialog").waitFor();
  return host.getByTestId("edit-code").inputValue();
}

async function removeApp(host, name) {
  await host.getByTestId(`remove-${name}`).click();
  await host.getByTestId("remove-confirm").click();
  await card(host, name).waitFor({ state: "detached" });
}

async function expectEntry(book) {
  const article = book.locator("article").filter({ hasText: ENTRY.message });
  await article.waitFor();
  assert.equal(await article.locator("strong").textContent(), ENTRY.name, "the guestbook shows the name as text");
}

/** An app's page must not be able to act as the user on the host or on other apps. */
async function expectContained(page) {
  const seen = await page.evaluate(async () => {
    const attempt = (url, init) => fetch(url, init).then((response) => `status ${response.status}`, () => "refused");
    return {
      origin: self.origin,
      list: await attempt("/api/apps"),
      create: await attempt("/api/apps", { method: "POST", headers: { "x-app-host": "1" }, body: "{}" }),
      quietly: await attempt("/api/apps", { method: "POST", mode: "no-cors", body: "{}" }),
      neighbour: await attempt("/apps/neighbour/"),
      own: await attempt("api/entries"),
    };
  });
  assert.deepEqual(
    seen,
    { origin: "null", list: "refused", create: "refused", quietly: "refused", neighbour: "refused", own: "status 200" },
    "an app's page reaches its own path and nothing else",
  );
}

/** Waits until the element's text matches; the page refreshes its figures by itself. */
async function expectText(locator, pattern, what) {
  const deadline = Date.now() + WAIT_MS_MAX;
  await locator.waitFor({ state: "attached" });
  for (;;) {
    const text = (await locator.textContent()).trim();
    if (pattern.test(text)) return;
    if (Date.now() > deadline) assert.fail(`${what}: wanted ${pattern}, the page shows ${JSON.stringify(text)}`);
    // Waits for the text to change, at most until the deadline.
    await locator
      .evaluate(
        (element, ms) =>
          new Promise((done) => {
            const observer = new MutationObserver(finish);
            const timer = setTimeout(finish, ms);
            function finish() {
              observer.disconnect();
              clearTimeout(timer);
              done();
            }
            observer.observe(element, { childList: true, characterData: true, subtree: true });
          }),
        Math.min(500, WAIT_MS_MAX),
      )
      .catch(() => {}); // The element was replaced: look again.
  }
}

/** `--screenshot out.png` writes out.png (the host's page) and out-WHAT.png. */
async function screenshot(page, what) {
  if (!options.screenshot) return;
  const path = what ? options.screenshot.replace(/(\.png)?$/, `-${what}.png`) : options.screenshot;
  await page.screenshot({ path, fullPage: true, type: "png" });
}

// ---- The browser ----

function installPlaywright(temp) {
  if (process.env.PLAYWRIGHT_CORE) return process.env.PLAYWRIGHT_CORE;
  const folder = join(temp, "npm");
  mkdirSync(folder);
  writeFileSync(join(folder, "package.json"), "{}");
  execFileSync("npm", ["install", "--no-audit", "--no-fund", "--loglevel=error", "playwright-core"], { cwd: folder, stdio: ["ignore", "ignore", "inherit"] });
  return join(folder, "node_modules", "playwright-core");
}

async function launch(temp) {
  const { chromium } = createRequire(import.meta.url)(installPlaywright(temp));
  const context = await chromium.launchPersistentContext(join(temp, "profile"), {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync",
    ],
    colorScheme: options.dark ? "dark" : "light",
    viewport: { width: 1280, height: 860 },
  });
  context.setDefaultTimeout(WAIT_MS_MAX);
  return context;
}

function usage(problem) {
  console.error(`${problem}\nusage: node app_host.mjs create|verify|update|delete[,...] URL [--screenshot FILE.png] [--dark]`);
  process.exit(2);
}

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { screenshot: { type: "string" }, dark: { type: "boolean" } },
});
const phases = (positionals[0] ?? "").split(",");
for (const phase of phases) if (!Object.hasOwn(PHASES, phase)) usage(`unknown phase "${phase}"`);
if (!URL.canParse(positionals[1])) usage("the server's URL is missing");
const { origin } = new URL(positionals[1]);

const temp = mkdtempSync(join(tmpdir(), "facetd-browser-"));
let context;
let phase = "start the browser";
try {
  context = await launch(temp);
  const complaints = [];
  context.on("request", (request) => {
    const url = new URL(request.url());
    if (/^(https?|wss?):$/.test(url.protocol) && url.origin !== origin) complaints.push(`asked another host: ${url}`);
  });
  const host = context.pages()[0] ?? (await context.newPage());
  host.on("pageerror", (error) => complaints.push(`error on the host's page: ${error.message}`));
  host.on("console", (message) => {
    // A refused name answers 409, which browsers log as an error.
    if (message.type() === "error" && !/status of 409/.test(message.text())) complaints.push(`console of the host's page: ${message.text()}`);
  });
  for (phase of phases) {
    await host.goto(origin);
    await host.locator("html[data-ready=true]").waitFor();
    await PHASES[phase](host);
    assert.deepEqual(complaints, [], "the page works without errors and without other hosts");
    console.log(`ok ${phase}`);
  }
  await screenshot(host);
} catch (error) {
  console.error(`FAIL ${phase}: ${error.message}`);
  process.exitCode = 1;
  const page = context?.pages()[0];
  if (page) await screenshot(page, "failed").catch(() => {});
} finally {
  await context?.close();
  rmSync(temp, { recursive: true, force: true, maxRetries: 5 });
}
