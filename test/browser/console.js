// A browser uses the console of the real program. Prints a line of JSON for each story: its name, and what went wrong.
//   node console.js CHROMIUM DIRECTORY PICTURES: DIRECTORY has "small" and "large", two data directories.
import { chromium } from "playwright-core";
import fs from "node:fs";
import path from "node:path";
import { createRequire } from "node:module";
import { patience, Server, until } from "./program.js";

const [executablePath, directory, pictures] = process.argv.slice(2);
const axe = fs.readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

// A name that the browser takes for another machine's.
const elsewhere = "console.test";
const browser = await chromium.launch({ executablePath, timeout: patience, args: ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP " + elsewhere + " 127.0.0.1"] });
const small = new Server(path.join(directory, "small"), "demo", "--console-host", elsewhere);
const large = new Server(path.join(directory, "large"), "web-00000");

const screen = { width: 1360, height: 900 };

/** page is a new browser's page; whatever it complains about is an error of the story. */
async function page(options = {}) {
  const context = await browser.newContext({ viewport: screen, reducedMotion: "reduce", ...options });
  context.setDefaultTimeout(patience);
  const p = await context.newPage();
  p.complaints = [];
  p.on("pageerror", (e) => p.complaints.push(e.message));
  // That nobody is signed in, that a server is away, and that others may read along, is a browser's complaint and not the page's.
  p.on("console", (m) => m.type() === "error" && !/Failed to load resource|origin was untrustworthy/.test(m.text()) && p.complaints.push(m.text()));
  return p;
}

async function done(...pages) {
  for (const p of pages) {
    const said = p.complaints;
    await p.context().close();
    if (said.length > 0) throw new Error("the page complained: " + said.join("; "));
  }
}

async function signIn(p, server, at = "", key = server.key()) {
  await p.goto(server.url + "/console/" + at);
  await p.getByLabel("Access key ID").fill(key.id);
  await p.getByLabel("Secret access key").fill(key.secret);
  await p.getByRole("button", { name: "Sign in", exact: true }).click();
  await p.getByRole("banner").waitFor();
}

/** ask has an operation carried out by the page's own bridge. */
const ask = (p, operation, input) =>
  p.evaluate(
    async ([operation, input]) => {
      const answer = await fetch("/console/api/" + operation, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(input) });
      return { status: answer.status, body: await answer.json() };
    },
    [operation, input],
  );

const equal = (got, want, what) => {
  if (JSON.stringify(got) !== JSON.stringify(want)) throw new Error(`${what}: got ${JSON.stringify(got)}, not ${JSON.stringify(want)}`);
};

const tokens = (p) => p.getByRole("switch", { name: "Require session tokens" });
const applied = (p) => p.getByText("Applied: the guest's next request obeys.").waitFor();
const checked = (p, on) => p.locator(`[role=switch][aria-label="Require session tokens"][aria-checked=${on}]`).waitFor();

/** verified says that a report is what the server has signed. */
async function verified(server, file) {
  const key = (await server.command("migrate", "key")).trim();
  const said = await server.offline("migrate", "verify", file, "--key", key);
  if (!said.includes("unchanged since it was signed")) throw new Error(said);
}

/** mended are the options that stories begin with. */
const mended = () => small.command("options", "demo", "--http-tokens", "optional", "--http-endpoint", "enabled");

const stories = {
  async "sign in by key"() {
    const p = await page();
    await p.goto(small.url + "/console/instances/demo/tags");
    await p.getByLabel("Access key ID").fill(small.key().id);
    await p.getByLabel("Secret access key").fill("not the secret");
    await p.getByRole("button", { name: "Sign in", exact: true }).click();
    await p.getByRole("alert").waitFor();
    await p.getByLabel("Secret access key").fill(small.key().secret);
    await p.keyboard.press("Enter");
    // The link that was opened first is where it goes on.
    await p.getByRole("heading", { name: "demo", level: 1 }).waitFor();
    await p.getByRole("heading", { name: "Tags" }).waitFor();
    const cookies = await p.context().cookies();
    equal(cookies.map((c) => [c.httpOnly, c.sameSite]), [[true, "Strict"]], "the cookie");
    const kept = await p.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]));
    equal(kept, JSON.stringify([{}, {}, ""]), "what scripts can read");
    await p.locator("summary").click();
    await p.getByRole("button", { name: "Sign out" }).click();
    await p.getByRole("heading", { name: "Sign in" }).waitFor();
    equal((await ask(p, "GetInstance", { instanceName: "demo" })).status, 401, "after signing out");
    await done(p);
  },

  async "sign in by link"() {
    const p = await page();
    const link = (await small.command("console", "--no-open")).trim();
    await p.goto(link);
    await p.getByRole("heading", { name: "Fleet" }).waitFor();
    equal(p.url(), small.url + "/console/", "the address");
    const again = await page();
    await again.goto(link);
    await again.getByText("This link was used already").waitFor();
    equal(again.url(), small.url + "/console/", "the address of a spent link");
    await done(p, again);
  },

  async "no secret in the clear"() {
    const p = await page();
    const sent = [];
    p.on("request", (r) => r.method() === "POST" && sent.push(r.url()));
    const there = (url) => url.replace("127.0.0.1", elsewhere);
    await p.goto(there(small.url) + "/console/");
    await p.getByRole("heading", { name: "Sign in" }).waitFor();
    await p.getByText("read on the way").waitFor();
    equal(await p.locator("input").count(), 0, "fields for a secret");
    equal(sent, [], "what was sent");
    await p.screenshot({ path: `${pictures}/signin-readable.png` });
    await p.goto("about:blank");
    await p.goto(there((await small.command("console", "--no-open")).trim()));
    await p.getByRole("heading", { name: "Fleet" }).waitFor();
    await done(p);
  },

  async "require tokens"() {
    await mended();
    const p = await page();
    await signIn(p, small, "instances/demo/options");
    equal(await small.get("latest/meta-data/ami-id", { agent: "old-agent/1.0" }), 200, "a guest without a token");
    await tokens(p).click();
    const dialog = p.getByRole("dialog");
    // By its program where that was seen in time, else by what it says of itself.
    await dialog.getByRole("listitem").filter({ hasText: /old-agent\/1\.0|node / }).first().waitFor();
    await dialog.getByText(/callers? would be refused since yesterday/).waitFor();
    equal(await small.get("latest/meta-data/ami-id"), 200, "a guest while it is asked");
    await dialog.getByRole("button", { name: "Require tokens" }).click();
    await checked(p, true);
    await applied(p);
    equal(await small.get("latest/meta-data/ami-id"), 401, "a guest without a token");
    equal(await small.get("latest/meta-data/ami-id", { token: true }), 200, "a guest with a token");
    await p.getByRole("navigation", { name: "Of this instance" }).getByRole("link", { name: "Changes" }).click();
    const line = p.getByRole("row").filter({ hasText: "UpdateInstanceMetadataOptions" }).first();
    await line.getByText("done").waitFor();
    const audited = p.getByRole("row").filter({ hasText: "options.tokens: optional to required" }).first();
    await audited.getByText(small.key().id).waitFor();
    await p.goBack();
    await tokens(p).click();
    await checked(p, false);
    await applied(p);
    equal(await small.get("latest/meta-data/ami-id"), 200, "a guest without a token again");
    await done(p);
  },

  async "graphs and numbers"() {
    await mended();
    const p = await page();
    for (let i = 0; i < 7; i++) await small.get("latest/meta-data/ami-id", { agent: "counted/1.0" });
    await signIn(p, small, "instances/demo/metrics?range=1h");
    const head = p.locator('[data-metric="MetadataNoToken"]');
    const points = async () => {
      const period = 300;
      const end = Math.floor(Date.now() / 1000 / period) * period + period;
      const input = { instanceName: "demo", metricName: "MetadataNoToken", period, startTime: end - 3600, endTime: end, unit: "Count", statistics: ["Sum"] };
      return (await ask(p, "GetInstanceMetricData", input)).body.metricData;
    };
    // What is compared is read on both sides of the page's number, so that no call comes between them.
    await until("the number of calls on the page", async () => {
      const sum = (await points()).reduce((s, point) => s + point.sum, 0);
      return sum >= 7 && (await head.getAttribute("data-total")) === String(sum);
    });
    const part = p.locator("section").filter({ has: p.getByRole("heading", { name: "Calls without a token (IMDSv1)" }) });
    await part.getByRole("img").and(part.locator(":has(canvas)")).waitFor();
    await part.getByRole("button", { name: "Table" }).click();
    await until("the same numbers in the table", async () => {
      const rows = await part.locator("tbody tr").evaluateAll((all) => all.map((r) => [Date.parse(r.querySelector("time").dateTime) / 1000, r.lastElementChild.textContent]));
      const known = rows.filter(([, n]) => n !== "unknown").map(([at, n]) => [at, Number(n)]);
      const want = (await points()).map((d) => [d.timestamp, d.sum]).reverse();
      return JSON.stringify(known) === JSON.stringify(want);
    });
    // A zoom stands in the address, and the way back leads out of it.
    await part.getByRole("button", { name: "Graph" }).click();
    const over = part.locator(".u-over");
    // A graph that is drawn anew under the mouse has seen only a part of the drag.
    await until("a zoom", async () => {
      await over.scrollIntoViewIfNeeded().catch(() => {});
      const box = await over.boundingBox();
      if (!box) return false;
      await p.mouse.move(box.x + box.width * 0.3, box.y + 40);
      await p.mouse.down();
      await p.mouse.move(box.x + box.width * 0.8, box.y + 40, { steps: 4 });
      await p.mouse.up();
      return /from=\d+/.test(p.url());
    });
    await p.getByRole("button", { name: "Reset zoom" }).click();
    await p.waitForURL((u) => !u.searchParams.has("from"));
    await done(p);
  },

  async "two browsers"() {
    await mended();
    const [one, other] = [await page(), await page()];
    await signIn(one, small, "instances/demo/options");
    await signIn(other, small, "instances/demo/options");
    await checked(other, false);
    await tokens(one).click();
    await one.getByRole("button", { name: "Require tokens" }).click();
    await checked(other, true);
    await tokens(other).click();
    await checked(one, false);
    await one.goto(small.url + "/console/instances/demo/tags");
    await one.getByLabel("Key").fill("seen");
    await one.getByLabel("Value").fill("by both");
    await one.getByRole("button", { name: "Add tag" }).click();
    await other.getByRole("link", { name: "Tags" }).click();
    await other.getByRole("cell", { name: "by both" }).waitFor();
    await one.getByRole("button", { name: "Remove tag seen" }).click();
    await other.getByRole("cell", { name: "by both" }).waitFor({ state: "detached" });
    await done(one, other);
  },

  async "server restarted"() {
    const p = await page();
    await signIn(p, small, "instances/demo/options");
    await checked(p, false);
    await small.stop();
    // Of what is asked for meanwhile there may be alerts as well.
    await p.getByRole("alert").filter({ hasText: "The server does not answer" }).first().waitFor();
    await small.start();
    await p.waitForFunction(() => !document.querySelector("[role=alert]"));
    // Nobody touches the page: it has the change by itself.
    await small.command("options", "demo", "--hop-limit", "3");
    await p.waitForFunction(() => document.querySelector("[name=hops]")?.value === "3");
    await small.command("options", "demo", "--hop-limit", "1");
    await done(p);
  },

  async "markup stays text"() {
    const evil = `"><img src=x onerror=alert(1)><script>alert(2)</script>`;
    const p = await page();
    p.on("dialog", (d) => p.complaints.push("a script ran: " + d.message()));
    await small.get("latest/meta-data/ami-id", { agent: evil });
    await small.command("instance", "create", "hostile");
    await small.command("event", "maintenance", "hostile", "--description", evil);
    await signIn(p, small, "instances/demo/callers");
    await p.getByText(evil, { exact: false }).first().waitFor();
    await p.goto(small.url + "/console/instances/hostile/changes");
    await p.getByRole("row").filter({ hasText: "UpdateInstanceEvents" }).first().waitFor();
    await p.goto(small.url + "/console/instances/hostile/events");
    await p.getByText(evil, { exact: false }).first().waitFor();
    await p.goto(small.url + "/console/?q=" + encodeURIComponent(evil));
    await p.getByText("No instance matches.").waitFor();
    equal(await p.locator("img, iframe, object, embed").count(), 0, "elements of the markup");
    await small.command("instance", "delete", "hostile");
    await done(p);
  },

  async "a key that may only look"() {
    await small.command("keys", "create", "reader", "--read-only");
    const p = await page();
    await signIn(p, small, "instances/demo/options", small.key("reader"));
    await p.getByText("look only").first().waitFor();
    await checked(p, false);
    equal(await tokens(p).isDisabled(), true, "the switch is disabled");
    const refused = await ask(p, "UpdateInstanceMetadataOptions", { instanceName: "demo", httpTokens: "required" });
    equal([refused.status, refused.body.__type], [400, "AccessDeniedException"], "a change past the page");
    const log = await ask(p, "GetAuditEntries", {});
    equal([log.status, log.body.__type], [400, "AccessDeniedException"], "the audit log past the page");
    await p.goto(small.url + "/console/instances/demo/changes");
    await p.getByText("This one may only look.").waitFor();
    await p.goto(small.url + "/console/");
    await p.getByRole("heading", { name: "Recent changes" }).waitFor();
    // Who may change something sees what was refused to whom.
    const other = await page();
    await signIn(other, small, "changes?audit=failed&who=reader");
    const line = other.locator("table.audit").getByRole("row").filter({ hasText: "UpdateInstanceMetadataOptions" }).first();
    await line.getByText("refused", { exact: true }).waitFor();
    await line.getByText("(reader)").waitFor();
    await done(other);
    await done(p);
  },

  async "keyboard alone"() {
    await mended();
    const p = await page();
    await p.goto(small.url + "/console/");
    await p.getByLabel("Access key ID").waitFor();
    /** reach presses Tab until what has the name has the focus. */
    const reach = async (name) => {
      for (let i = 0; i < 200; i++) {
        const at = await p.evaluate(() => {
          const e = document.activeElement;
          return e.getAttribute("aria-label") ?? (e.labels?.[0]?.textContent || e.textContent);
        });
        if (at?.trim() === name) return;
        await p.keyboard.press("Tab");
      }
      throw new Error("Tab does not reach " + name);
    };
    await reach("Access key ID");
    await p.keyboard.type(small.key().id);
    await reach("Secret access key");
    await p.keyboard.type(small.key().secret);
    await p.keyboard.press("Enter");
    await p.getByRole("link", { name: "demo" }).first().waitFor();
    await reach("Search");
    await p.keyboard.type("demo");
    await p.waitForURL(/q=demo/);
    await reach("demo");
    await p.keyboard.press("Enter");
    await p.getByRole("heading", { name: "demo", level: 1 }).waitFor();
    await reach("Require session tokens");
    await p.keyboard.press("Space");
    await p.getByRole("dialog").waitFor();
    await p.keyboard.press("Escape");
    await p.getByRole("dialog").waitFor({ state: "detached" });
    await until("the focus back at the switch", () => p.evaluate(() => document.activeElement.getAttribute("role") === "switch"));
    await p.keyboard.press("Space");
    await reach("Require tokens");
    await p.keyboard.press("Enter");
    await checked(p, true);
    await reach("Require session tokens");
    await p.keyboard.press("Space");
    await checked(p, false);
    await reach("Metadata");
    await p.keyboard.press("Enter");
    await p.getByRole("heading", { name: "Metadata as the guest sees it" }).waitFor();
    await done(p);
  },

  async "migration"() {
    await mended();
    const p = await page({ acceptDownloads: true });
    await small.get("latest/meta-data/ami-id", { agent: "in-the-way/1.0" });
    await signIn(p, small, "migration");
    const row = p.getByRole("row").filter({ has: p.getByRole("link", { name: "demo", exact: true }) });
    await row.getByText("not yet", { exact: true }).waitFor();
    // Word for word as the command says it.
    const told = JSON.parse(await small.command("migrate", "status", "demo", "-o", "json"));
    await until("the command's verdict", async () => {
      const now = JSON.parse(await small.command("migrate", "status", "demo", "-o", "json"))[0];
      await p.reload();
      await row.waitFor();
      return (await row.locator(".why").textContent()) === now.reason;
    });
    equal(told[0].verdict, "not yet", "the command's verdict");
    await small.command("migrate", "rehearse", "demo", "--shadow", "--for", "1h");
    await row.getByText("shadow").waitFor(); // by itself
    await small.command("migrate", "rehearse", "demo", "--stop");
    for (const [button, end] of [["Save as HTML", "html"], ["Save as JSON", "json"]]) {
      const [download] = await Promise.all([p.waitForEvent("download"), p.getByRole("button", { name: button }).click()]);
      const file = path.join(directory, download.suggestedFilename());
      equal(path.extname(file), "." + end, "the file's name");
      await download.saveAs(file);
      await verified(small, file);
      // What stands in the address while it is made is gone, so that nothing is saved twice.
      await p.waitForURL((u) => !u.searchParams.has("report"));
    }
    // Of a report that is there no more the page says so, and offers another one.
    await p.goto(small.url + "/console/migration?report=00000000-0000-0000-0000-000000000000");
    await p.getByText("There is no such report any more").waitFor();
    await p.getByRole("button", { name: "Save as HTML" }).waitFor();
    await small.command("options", "demo", "--http-tokens", "required", "--yes");
    await p.getByText("No instance takes IMDSv1 any more.").waitFor();
    await p.getByRole("button", { name: "All", exact: true }).click();
    await row.getByText("done", { exact: true }).waitFor();
    await p.goto(p.url() + "&page=9"); // behind the last one
    await row.getByText("done", { exact: true }).waitFor();
    await mended();
    await done(p);
    const reader = await page();
    await small.command("keys", "create", "onlooker", "--read-only");
    await signIn(reader, small, "migration", small.key("onlooker"));
    await reader.getByRole("row").filter({ hasText: "demo" }).waitFor();
    equal(await reader.getByRole("button", { name: "Save as HTML" }).isDisabled(), true, "the report for a key that may only look");
    await done(reader);
  },

  async "a plan in waves"() {
    await mended();
    for (const name of ["web-1", "web-2", "old"]) await small.command("instance", "create", name);
    const file = path.join(directory, "plan.yaml");
    const waves = (hold) => `waves:\n  - {name: canary, names: [demo], hold: ${hold}}\n  - {name: rest, rest: true}\n`;
    const terms = "plan: 1\nprovider: openimds\nhold: 0s\ncriteria: {window: 5s, calls: 1000000}\n";
    fs.writeFileSync(file, terms + waves("1h") + "exceptions:\n  - {names: [old], owner: ops, reason: its vendor is slow, until: 2099-01-31}\n");
    await until("the plan to be ready for demo", async () => JSON.parse(await small.command("migrate", "apply", file, "-o", "json")).some((step) => step.requires));
    const p = await page();
    await signIn(p, small, "migration");
    await p.getByRole("heading", { name: "A plan, in waves" }).waitFor();
    equal(await p.getByRole("heading", { name: "Plans so far" }).count(), 0, "plans before the first");
    // Nobody touches the page: it has the plan by itself.
    const first = small.begin("migrate", "apply", file, "--yes");
    const plan = p.locator("section.plan");
    const state = (text) => plan.locator("header .badge").getByText(text, { exact: true }).waitFor();
    const wave = (name) => plan.locator("table.waves").getByRole("row").filter({ has: p.getByRole("button", { name, exact: true }) });
    await plan.getByRole("heading", { name: "Plan plan.yaml" }).waitFor();
    await wave("canary").getByText("1 required").waitFor();
    await state("under way");
    await wave("canary").getByText("under way", { exact: true }).waitFor();
    await wave("rest").getByText("3 waiting").waitFor();
    equal(await small.get("latest/meta-data/ami-id", { token: true }), 200, "a guest with a token");
    const exception = plan.locator("table.exceptions").getByRole("row").filter({ hasText: "ops" });
    await exception.getByText("its vendor is slow").waitFor();
    // Waves open by the keyboard.
    await wave("canary").getByRole("button").focus();
    await p.keyboard.press("Enter");
    await plan.locator("table.migrated").getByRole("row").filter({ hasText: "demo" }).getByText("required", { exact: true }).waitFor();
    await p.waitForURL(/wave=1/);
    // Who is killed says nothing more, and is not taken to be at work.
    first.kill("SIGKILL");
    equal(await first.ended, "SIGKILL", "the command");
    await state("not heard of");
    await plan.getByText("openimds migrate resume plan.yaml --yes").waitFor();
    await wave("canary").getByText("not watched to its end").waitFor();
    const again = small.begin("migrate", "resume", file, "--yes");
    await state("under way");
    await until("somebody to be refused", async () => (await small.get("latest/meta-data/ami-id", { agent: "old-agent/2.0" })) === 200);
    equal(await again.ended, 1, again.said);
    await state("stopped");
    await plan.locator(".reason").getByText(/old-agent\/2\.0|node /).waitFor();
    await plan.locator("table.migrated").getByRole("row").filter({ hasText: "demo" }).getByText("brought back", { exact: true }).waitFor();
    await until("IMDSv1 to be answered again", async () => (await small.get("latest/meta-data/ami-id")) === 200);
    await small.command("migrate", "resume", file, "--yes");
    await state("finished");
    await wave("rest").getByText("1 excepted").waitFor();
    await wave("rest").getByText("2 skipped").waitFor();
    await wave("rest").getByRole("button").click();
    const left = plan.locator("table.migrated").getByRole("row");
    await left.filter({ hasText: "old" }).getByText("Exception of ops until").waitFor();
    await left.filter({ hasText: "web-1" }).getByText(/^unknown: /).waitFor();
    await plan.getByLabel("Show").selectOption("excepted");
    await left.filter({ hasText: "web-1" }).waitFor({ state: "detached" });
    await p.waitForURL(/step=excepted/);
    await p.reload();
    await left.filter({ hasText: "old" }).waitFor();
    // Another plan: the former one is remembered.
    const other = path.join(directory, "other plan.yaml");
    fs.writeFileSync(other, terms + waves("0s"));
    await until("the other plan to be ready for demo", async () => JSON.parse(await small.command("migrate", "apply", other, "-o", "json")).some((step) => step.requires));
    await small.command("migrate", "apply", other, "--yes");
    const history = p.locator("table.history").getByRole("row");
    await history.filter({ hasText: "other plan.yaml" }).getByText("finished").waitFor();
    // The address still names the first one.
    await plan.getByRole("heading", { name: "Plan plan.yaml" }).waitFor();
    await history.getByRole("link", { name: "other plan.yaml" }).click();
    await plan.getByRole("heading", { name: "Plan other plan.yaml" }).waitFor();
    await small.command("migrate", "undo", other, "--yes");
    await state("undone");
    await wave("canary").getByText("1 undone").waitFor();
    const reader = await page();
    await small.command("keys", "create", "watcher", "--read-only");
    await signIn(reader, small, "migration", small.key("watcher"));
    await reader.locator("section.plan").getByRole("heading", { name: "Plan other plan.yaml" }).waitFor();
    const told = await ask(reader, "TellMigration", { migrationId: "0".repeat(32), plan: "forged", begunAt: 1, state: "running", stepAt: 1 });
    equal([told.status, told.body.__type], [400, "AccessDeniedException"], "a plan told by a key that may only look");
    for (const name of ["web-1", "web-2", "old"]) await small.command("instance", "delete", name);
    await mended();
    await done(p, reader);
  },

  async "any version of the metadata"() {
    const p = await page();
    await signIn(p, small, "instances/demo/metadata");
    const choice = p.getByLabel("Version");
    await choice.locator("option", { hasText: "2021-07-15" }).waitFor({ state: "attached" });
    // What the guest is listed, token or not.
    const listed = (await (await fetch(`http://${small.imds}/`)).text()).split("\n").sort();
    equal((await choice.locator("option").allTextContents()).sort(), listed, "the versions");
    await choice.selectOption("1.0");
    await p.waitForURL(/version=1\.0/);
    await p.getByRole("button", { name: "meta-data/" }).waitFor();
    await p.getByText("ami-id", { exact: true }).waitFor();
    await p.getByText("dynamic/", { exact: true }).waitFor({ state: "detached" });
    await done(p);
  },

  async "events, faults, user data and secrets"() {
    await mended();
    const p = await page();
    const answers = (at, status) => until(`${status} of ${at}`, async () => (await small.get(at)) === status);
    await signIn(p, small, "instances/demo/events");
    await p.getByText("Nothing is announced.").waitFor();
    await answers("latest/meta-data/spot/instance-action", 404);
    await p.getByRole("button", { name: "Announce", exact: true }).click();
    await p.getByRole("button", { name: "Take back: Spot interruption" }).waitFor();
    await answers("latest/meta-data/spot/instance-action", 200);
    await p.getByRole("button", { name: "Take back: Spot interruption" }).click();
    await p.getByText("Nothing is announced.").waitFor();
    await answers("latest/meta-data/spot/instance-action", 404);
    await p.getByRole("link", { name: "Faults" }).click();
    await p.getByText("No faults are on.").waitFor();
    await p.getByLabel("Status", { exact: true }).fill("503");
    await p.getByRole("button", { name: "Set faults" }).click();
    await p.getByText("status 503 for").waitFor();
    await answers("latest/meta-data/ami-id", 503);
    await p.getByRole("button", { name: "End all faults" }).click();
    await p.getByText("No faults are on.").waitFor();
    await answers("latest/meta-data/ami-id", 200);
    // What is typed is what the guest gets, byte for byte; the page hides it until somebody asks.
    const secret = "#!/bin/sh\necho 'secret of the guest' ü\n";
    await p.getByRole("link", { name: "User data" }).click();
    await p.getByText("No user data.").waitFor();
    await p.getByRole("button", { name: "Edit" }).click();
    await p.getByRole("textbox").fill(secret);
    await p.getByRole("button", { name: "Save" }).click();
    await until("the guest's user data", async () => (await (await fetch(`http://${small.imds}/latest/user-data`)).text()) === secret);
    const found = p.getByText("secret of the guest");
    await p.goto(small.url + "/console/instances/demo/metadata");
    const entry = p.getByRole("listitem").filter({ has: p.getByText("user-data", { exact: true }) });
    await entry.getByText("hidden", { exact: true }).waitFor();
    equal(await found.count(), 0, "secrets before somebody asks");
    await p.getByRole("button", { name: "Show secrets" }).click();
    await p.getByRole("dialog").getByRole("button", { name: "Show secrets" }).click();
    await found.waitFor();
    const told = await ask(p, "GetAuditEntries", { what: "GetMetadataTree" });
    equal(told.body.entries.some((e) => e.resource === "Instance/demo"), true, "that they were shown is in the audit log");
    await p.getByRole("button", { name: "Hide secrets" }).click();
    await found.waitFor({ state: "detached" });
    // As the guest is answered, so the page is.
    await small.command("options", "demo", "--http-tokens", "required", "--yes");
    await p.getByRole("button", { name: "IMDSv1", exact: true }).click();
    await p.getByText("The guest is refused with 401").waitFor();
    await mended();
    await p.getByText("ami-id", { exact: true }).waitFor(); // by itself
    await done(p);
  },

  async "ten thousand"() {
    const p = await page();
    await signIn(p, large);
    await p.getByText("10,000 instances · page 1 of 200").waitFor();
    // They are older than their server: that nobody called is not known of all their time.
    await p.getByText("No instance is known to have been called without a token.").waitFor();
    await p.getByText("Nobody is known to have called without a token.").waitFor();
    // As people type: with a pause within.
    await p.getByLabel("Search").pressSequentially("web-04 ");
    await p.waitForURL(/q=web-04$/);
    equal(await p.getByLabel("Search").inputValue(), "web-04 ", "what somebody types while it is searched for");
    await p.getByLabel("Search").fill("web-04242");
    await p.getByText("1 instance · page 1 of 1").waitFor();
    await p.getByRole("link", { name: "web-04242" }).click();
    await p.getByText("Nobody that is known of.").waitFor();
    await tokens(p).click();
    await p.getByText("Nobody is known to have called without a token since yesterday.").waitFor();
    await p.keyboard.press("Escape");
    await p.goBack();
    await p.getByLabel("Search").fill("");
    await p.getByRole("button", { name: "Name", exact: false }).first().click();
    await p.getByRole("link", { name: "web-09999" }).waitFor();
    await p.getByRole("button", { name: "Next page" }).click();
    await p.getByRole("link", { name: "web-09949" }).waitFor();
    const times = [];
    for (let i = 0; i < 5; i++) {
      await p.goto("about:blank");
      await p.goto(large.url + "/console/");
      await p.getByRole("link", { name: "web-00000" }).waitFor();
      times.push(
        await p.evaluate(() => ({
          paint: performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 0,
          list: performance.getEntriesByType("resource").filter((r) => r.name.endsWith("SearchInstances"))[0]?.responseEnd ?? 0,
        })),
      );
    }
    const median = (of) => Math.round(times.map(of).sort((a, b) => a - b)[2]);
    await done(p);
    return { firstPaintMs: median((x) => x.paint), listMs: median((x) => x.list) };
  },
};

/** wide tells which of the elements have more in them than their place shows. */
const wide = (p, which, where) =>
  p.evaluate(
    ([which, where]) => [...document.querySelectorAll(which)].filter((e) => e.scrollWidth > e.clientWidth + 1).map((e) => `${where}: ${e.className || e.tagName} ${e.scrollWidth} > ${e.clientWidth}`),
    [which, where],
  );

stories["long names"] = async () => {
  await mended();
  const long = "a-name-of-two-hundred-letters-" + "x".repeat(170);
  await small.command("instance", "create", long, "--tag", `${"k".repeat(128)}=${"v".repeat(256)}`);
  await small.command("event", "maintenance", long, "--description", "d".repeat(400));
  await small.command("migrate", "rehearse", long, "--shadow", "--for", "1h");
  await small.get("latest/meta-data/ami-id", { agent: "u".repeat(250) });
  const p = await page({ colorScheme: "light" });
  await signIn(p, small);
  await p.getByText("u".repeat(100)).first().waitFor(); // what is on its way has come
  const there = "instances/" + long;
  const seenAt = { fleet: "", migration: "migration?filter=all", callers: "callers", changes: "changes", options: there, tags: there + "/tags", events: there + "/events", "instance-changes": there + "/changes", "instance-callers": "instances/demo/callers" };
  const tooWide = [];
  for (const [name, at] of Object.entries(seenAt)) {
    await p.goto(small.url + "/console/" + at);
    await settled(p);
    // Names are cut or broken: neither the page nor a table in it is wider than its place.
    tooWide.push(...(await wide(p, "html, .scroll", name)));
    await p.screenshot({ path: `${pictures}/long-${name}.png`, fullPage: true });
    await p.setViewportSize({ width: 390, height: 844 });
    // Graphs hear of it a moment later.
    await until(name + " to be as narrow as the screen", async () => (await p.evaluate(() => innerWidth === 390)) && (await wide(p, "html", name)).length === 0);
    await p.screenshot({ path: `${pictures}/long-${name}-narrow.png`, fullPage: true });
    await p.setViewportSize(screen);
  }
  equal(tooWide, [], "what is wider than its place");
  await small.command("instance", "delete", long);
  await done(p);
};

stories["a report of ten thousand"] = async () => {
  const p = await page({ acceptDownloads: true });
  await signIn(p, large, "migration");
  await p.getByRole("button", { name: "Save as HTML" }).click();
  await p.getByText(/^Writing down 10,000 instances: [\d,]+ so far/).waitFor();
  await p.waitForURL(/report=/);
  // Who leaves the page, or loads it again, has the same report go on.
  await p.getByRole("link", { name: "Fleet" }).click();
  await p.getByRole("heading", { name: "Fleet", level: 1 }).waitFor();
  await p.goBack();
  const progress = p.getByRole("progressbar");
  await progress.waitFor();
  const far = Number(await progress.getAttribute("value"));
  await p.reload();
  await until("the same report to go on", async () => Number(await progress.getAttribute("value", { timeout: 1000 }).catch(() => 0)) > far);
  await p.screenshot({ path: `${pictures}/report-being-made.png` });
  const download = await p.waitForEvent("download", { timeout: 8 * patience });
  const file = path.join(directory, download.suggestedFilename());
  await download.saveAs(file);
  await verified(large, file);
  const text = fs.readFileSync(file, "utf8");
  equal(text.split('<section class="instance"').length - 1, 10_000, "instances of the report");
  // Who gives one up has another one made.
  await p.getByRole("button", { name: "Save as JSON" }).click();
  await p.getByText(/^Writing down 10,000 instances/).waitFor();
  await p.getByRole("button", { name: "Stop" }).click();
  await p.getByRole("button", { name: "Save as JSON" }).waitFor();
  await done(p);
  return { reportBytes: text.length };
};

const places = {
  fleet: "", migration: "migration", "migration-wave": "migration?wave=2", callers: "callers", changes: "changes", alarms: "alarms", missing: "nowhere",
  ...Object.fromEntries(["options", "metrics", "callers", "metadata", "userdata", "tags", "events", "faults", "attachment", "changes"].map((tab) => ["instance-" + tab, `instances/demo/${tab}`])),
};

/** settled waits until nothing on the page is being loaded. */
const settled = (p) => p.waitForFunction(() => document.querySelector("h1") && !document.querySelector(".loading, [aria-busy=true]"));

/** violations are what axe finds on the page as it is: of everything, or of what colours can do wrong. */
async function violations(p, where, colours) {
  // The page's own policy forbids scripts from elsewhere, as it should: axe is let in by the debugger.
  if (!(await p.evaluate(() => "axe" in window))) await p.evaluate(axe);
  const options = colours ? { runOnly: ["color-contrast", "link-in-text-block"] } : {};
  const found = await p.evaluate(async (options) => (await window.axe.run(document, options)).violations.map((v) => v.id + ": " + v.nodes.map((n) => n.target.join(" ") + " " + (n.any[0]?.message ?? "")).join("; ")), options);
  return found.map((f) => where + ": " + f);
}

/** seen is a page, or a dialog, looked at in both themes; a page on a narrow screen too. */
async function seen(p, name, narrow) {
  const found = await violations(p, name, false);
  await p.screenshot({ path: `${pictures}/${name}-light.png`, fullPage: narrow });
  await p.emulateMedia({ colorScheme: "dark" });
  found.push(...(await violations(p, name + ", dark", true)));
  await p.screenshot({ path: `${pictures}/${name}-dark.png`, fullPage: narrow });
  await p.emulateMedia({ colorScheme: "light", contrast: "more" });
  found.push(...(await violations(p, name + ", more contrast", true)));
  await p.screenshot({ path: `${pictures}/${name}-contrast.png`, fullPage: narrow });
  await p.emulateMedia({ colorScheme: "dark", contrast: "more" });
  found.push(...(await violations(p, name + ", dark with more contrast", true)));
  await p.emulateMedia({ colorScheme: "light", contrast: "no-preference", forcedColors: "active" });
  found.push(...(await violations(p, name + ", forced colours", true)));
  await p.screenshot({ path: `${pictures}/${name}-forced.png`, fullPage: narrow });
  await p.emulateMedia({ colorScheme: "light", forcedColors: "none" });
  if (!narrow) return found;
  await p.setViewportSize({ width: 390, height: 844 });
  // Graphs hear of it a moment later.
  await until(name + " to be as narrow as the screen", () => p.evaluate(() => innerWidth === 390 && document.documentElement.scrollWidth <= document.documentElement.clientWidth));
  await p.screenshot({ path: `${pictures}/${name}-narrow.png`, fullPage: true });
  await p.setViewportSize(screen);
  return found;
}

stories["every page, by axe, in both themes, narrow"] = async () => {
  const p = await page({ colorScheme: "light" });
  await p.goto(small.url + "/console/");
  await p.getByLabel("Access key ID").waitFor();
  const found = await seen(p, "signin", true);
  await signIn(p, small);
  for (const [name, at] of Object.entries(places)) {
    await p.goto(small.url + "/console/" + at);
    await settled(p);
    found.push(...(await seen(p, name, true)));
  }
  const dialogs = [
    ["instances/demo/options", () => tokens(p).click(), "tokens"],
    ["instances/demo/options", () => p.getByRole("switch", { name: "Metadata endpoint" }).click(), "endpoint"],
    ["instances/demo/metadata", () => p.getByRole("button", { name: "Show secrets" }).click(), "secrets"],
  ];
  for (const [at, open, name] of dialogs) {
    await p.goto(small.url + "/console/" + at);
    await settled(p);
    await open();
    await p.getByRole("dialog").waitFor();
    await settled(p);
    found.push(...(await seen(p, "dialog-" + name, false)));
  }
  if (found.length > 0) throw new Error(found.join("\n"));
  await done(p);
};

fs.mkdirSync(pictures, { recursive: true });
await Promise.all([small.start(), large.start()]);
// Whoever started this may give it up; what it started ends with it.
process.once("SIGTERM", () => {
  for (const server of [small, large]) server.process?.kill();
  void browser.close().finally(() => process.exit(1));
});
const only = process.env.STORY;
for (const [name, story] of Object.entries(stories)) {
  if (only && !name.includes(only)) continue;
  const began = Date.now();
  try {
    const figures = await story();
    console.log(JSON.stringify({ name, ms: Date.now() - began, figures }));
  } catch (e) {
    console.log(JSON.stringify({ name, ms: Date.now() - began, error: e.message }));
  }
}
await browser.close();
for (const server of [small, large]) {
  try {
    await server.stop();
  } catch (e) {
    console.log(JSON.stringify({ name: "stop", error: e.message }));
  }
}
