// The report for who signs off on the migration: the server makes it, which takes minutes where there are many instances, and the page
// fetches it in parts. Its id stands in the address, so that whoever comes back within a minute goes on.
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { call, Refused, worded } from "./api";
import { go, param, withParams } from "./route";
import { t } from "./text";
import { attempt, Button, Command, say, Section } from "./ui";

const askEvery = 500;
// A server that is away, or does not come to answer, is asked again so often in a row.
const triesMost = 20;

const pause = (ms: number) => new Promise((done) => setTimeout(done, ms));

interface Part {
  /** done is how much of all there is; all 0: nobody knows yet. */
  done: number;
  all: number;
  fetching: boolean;
}

export function Report() {
  const id = param("report");
  const part = useSignal<Part>({ done: 0, all: 0, fetching: false });
  const saved = useSignal<{ file: string; key: string } | null>(null);
  const asked = useSignal(false);

  useEffect(() => {
    if (id === "") return;
    let over = false;
    part.value = { done: 0, all: 0, fetching: false };
    saved.value = null;
    const read = async () => {
      const parts: Uint8Array<ArrayBuffer>[] = [];
      let size = 0;
      for (let failed = 0; !over; ) {
        let told;
        try {
          told = await call("GetMigrationReport", { reportId: id, from: size });
          failed = 0;
        } catch (e) {
          const passing = e instanceof Refused && (e.status === 0 || e.status >= 500);
          if (over || !passing || ++failed > triesMost) throw e;
          await pause(askEvery);
          continue;
        }
        if (over) return;
        if (told.size === 0) {
          part.value = { done: told.judged, all: told.instances, fetching: false };
          await pause(askEvery);
          continue;
        }
        const bytes = Uint8Array.from(atob(told.part ?? ""), (c) => c.charCodeAt(0));
        parts.push(bytes);
        size += bytes.length;
        part.value = { done: size, all: told.size, fetching: true };
        if (size < told.size) continue;
        save(told.fileName!, parts);
        saved.value = { file: told.fileName!, key: told.key! };
        say(t.report.saved);
        return;
      }
    };
    read()
      .catch((e) => over || say(worded(e), true))
      .finally(() => over || go(withParams({ report: "" }), true));
    return () => (over = true);
  }, [id]);

  const make = async (form: "html" | "json") => {
    asked.value = true;
    await attempt(async () => go(withParams({ report: (await call("MakeMigrationReport", { form })).reportId }), true));
    asked.value = false;
  };
  const { done, all, fetching } = part.value;
  return (
    <Section title={t.report.heading}>
      <div class="teach">
        <p>{t.report.about}</p>
        {id === "" ? (
          <div class="inline">
            <Button changes disabled={asked.value} onClick={() => void make("html")}>
              {t.report.html}
            </Button>
            <Button changes disabled={asked.value} onClick={() => void make("json")}>
              {t.report.json}
            </Button>
          </div>
        ) : (
          <div class="making">
            <label>
              {fetching ? t.report.fetching(done, all) : t.report.judged(done, all)}
              {all > 0 ? <progress value={done} max={all} /> : <progress />}
            </label>
            <Button onClick={() => go(withParams({ report: "" }), true)}>{t.report.stop}</Button>
          </div>
        )}
        {saved.value && (
          <>
            <p class="dim">{t.report.verify}</p>
            <Command text={`openimds migrate verify ${saved.value.file} --key ${saved.value.key}`} />
          </>
        )}
      </div>
      {!saved.value && (
        <div class="teach after">
          <p class="dim">{t.report.signed}</p>
          <Command text={t.report.withPlan} />
        </div>
      )}
    </Section>
  );
}

/** save has the browser keep bytes as a file, each as it is: what is signed must not change. */
function save(name: string, parts: Uint8Array<ArrayBuffer>[]) {
  const url = URL.createObjectURL(new Blob(parts, { type: name.endsWith(".html") ? "text/html" : "application/json" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
