// The console: the frame around every page, and which page it is.
import "uplot/dist/uPlot.min.css";
import "./style.css";
import { effect } from "@preact/signals";
import { render } from "preact";
import { useEffect } from "preact/hooks";
import { region, session, signIn, signOut, whoAmI, worded } from "./api";
import { AlarmsPage } from "./alarms";
import { CallersPage } from "./callers";
import { ChangesPage } from "./changes";
import { FleetPage } from "./fleet";
import { connection, follow } from "./live";
import { Link, parts, place } from "./route";
import { SignIn, spent } from "./signin";
import { t } from "./text";
import { theme, type Theme } from "./theme";
import { later, Loading, Said, say } from "./ui";

// What the fleet's page does not need comes in files of its own, so that the first paint does not wait for it.
const InstancePage = later(() => import("./instance").then((m) => m.InstancePage));
const MigrationPage = later(() => import("./migration").then((m) => m.MigrationPage));

function Page() {
  const [first, second, third] = parts();
  if (first === undefined) return <FleetPage />;
  if (first === "migration" && second === undefined) return <MigrationPage />;
  if (first === "callers" && second === undefined) return <CallersPage />;
  if (first === "changes" && second === undefined) return <ChangesPage />;
  if (first === "alarms" && second === undefined) return <AlarmsPage />;
  if (first === "instances" && second !== undefined) return <InstancePage key={second} name={second} tab={third ?? "options"} />;
  return (
    <main id="content" class="page">
      <h1 tabIndex={-1}>{t.error.notFound}</h1>
      <p>
        <Link to="">{t.error.backToFleet}</Link>
      </p>
    </main>
  );
}

const pages: [string, string][] = [
  ["", t.nav.fleet],
  ["migration", t.nav.migration],
  ["callers", t.nav.callers],
  ["changes", t.nav.changes],
  ["alarms", t.nav.alarms],
];

function Bar() {
  const who = session.value!;
  const here = parts()[0] ?? "";
  return (
    <header class="bar">
      <Link to="" class="mark">
        <span class="glyph" aria-hidden="true" />
        {t.name}
      </Link>
      <nav aria-label={t.nav.label}>
        {pages.map(([path, text]) => (
          <Link key={path} to={path} aria-current={path === here || (path === "" && here === "instances") ? "page" : undefined}>
            {text}
          </Link>
        ))}
      </nav>
      <div class="right">
        {who.regions.length > 1 ? (
          <select aria-label={t.nav.region} value={region.value} onChange={(e) => (region.value = e.currentTarget.value)}>
            {who.regions.map((r) => (
              <option key={r}>{r}</option>
            ))}
          </select>
        ) : (
          <span class="region">{region.value}</span>
        )}
        <span class={"link " + connection.value} role="status" title={t.link[connection.value]}>
          <span class="dot" aria-hidden="true" />
          <span class="words">{connection.value === "live" ? t.link.live : ""}</span>
          <span class="unseen">{t.link[connection.value]}</span>
        </span>
        <Menu />
      </div>
    </header>
  );
}

function Menu() {
  const who = session.value!;
  const out = async () => {
    try {
      await signOut();
    } catch (e) {
      say(worded(e), true);
    }
  };
  return (
    <details class="menu" onKeyDown={(e) => e.key === "Escape" && closeMenu(e.currentTarget)} onFocusOut={(e) => !e.currentTarget.contains(e.relatedTarget as Node) && e.relatedTarget && (e.currentTarget.open = false)}>
      <summary>
        <span class="unseen">{t.nav.session}: </span>
        <span class="key">{who.accessKeyId}</span>
        {who.readOnly && <span class="badge plain">{t.nav.readOnly}</span>}
      </summary>
      <div class="sheet">
        <label class="field">
          <span>{t.nav.theme}</span>
          <select value={theme.value} onChange={(e) => (theme.value = e.currentTarget.value as Theme)}>
            {Object.entries(t.nav.themes).map(([value, text]) => (
              <option key={value} value={value}>
                {text}
              </option>
            ))}
          </select>
        </label>
        {who.readOnly && <p class="dim">{t.nav.readOnlyWhy}</p>}
        <p class="dim">{t.nav.version(who.version)}</p>
        <button type="button" class="button" onClick={out}>
          {t.nav.signOut}
        </button>
      </div>
    </details>
  );
}

function closeMenu(menu: HTMLDetailsElement) {
  menu.open = false;
  menu.querySelector("summary")?.focus();
}

/** Shell is what the page itself has before any script ran, while nobody knows who is signed in. */
function Shell() {
  return (
    <>
      <header class="bar">
        <span class="mark">
          <span class="glyph" aria-hidden="true" />
          {t.name}
        </span>
      </header>
      <Loading />
    </>
  );
}

function App() {
  const who = session.value;
  useEffect(() => {
    if (who) return follow(region.value);
  }, [who, region.value]);
  if (who === undefined) return <Shell />;
  if (who === null) return <SignIn />;
  return (
    <>
      <a class="skip" href="#content">
        {t.skip}
      </a>
      <Bar />
      {connection.value === "away" && (
        <p class="away" role="alert">
          {t.error.unreachable} {t.link.stale}
        </p>
      )}
      <Page key={region.value} />
      <Said />
    </>
  );
}

/** begin signs in with the link that the page was opened with, which nobody is to see again. */
async function begin() {
  const link = new URLSearchParams(window.location.hash.slice(1)).get("link");
  if (link !== null) {
    history.replaceState(null, "", window.location.pathname + window.location.search);
    place.value = new URL(window.location.href);
    try {
      await signIn({ link });
      return;
    } catch {
      spent.value = true;
    }
  }
  for (;;) {
    try {
      await whoAmI();
      if (session.value) spent.value = false;
      return;
    } catch (e) {
      say(worded(e), true);
      await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  }
}

effect(() => {
  const [first, second] = parts();
  const pageName = first === "instances" ? second : pages.find(([path]) => path === (first ?? ""))?.[1];
  document.title = session.value ? [pageName, t.name].filter(Boolean).join(" · ") : t.name;
});

void begin();
render(<App />, document.getElementById("app")!);
