// The metadata of an instance as its guest sees it, from the same table that answers the guest.
import { signal, useSignal, type Signal } from "@preact/signals";
import { useCall } from "./live";
import { go, param, withParams } from "./route";
import { t } from "./text";
import { Badge, Button, Choice, Dialog, Field, Loading, Problem, Section } from "./ui";
import type { Instance, TreeEntry } from "./wire";

interface View {
  name: string;
  version: string;
  protocol: "v1" | "v2";
  reveal: boolean;
}

export function MetadataTree({ instance }: { instance: Instance }) {
  const version = param("version") || "latest";
  const protocol = param("as") === "v1" ? "v1" : "v2";
  const reveal = useSignal(false);
  const asking = useSignal(false);
  const name = instance.name;
  const view: View = { name, version, protocol, reveal: reveal.value };
  const top = useCall("GetMetadataTree", { instanceName: name, version, path: "", protocol, reveal: reveal.value }, { on: ["instance", "attachment"], name });
  return (
    <Section
      title={t.tree.heading}
      aside={
        <div class="tools">
          <Field label={t.tree.version}>
            <select value={version} onChange={(e) => go(withParams({ version: e.currentTarget.value === "latest" ? "" : e.currentTarget.value }), true)}>
              {/* The latest first; what the address asks for stays choosable, whether or not it is listed. */}
              {[...new Set([...(top.data?.versions ?? []), version])].reverse().map((v) => (
                <option key={v}>{v}</option>
              ))}
            </select>
          </Field>
          <Choice label={t.tree.protocol} value={protocol} among={t.tree.protocols} onChange={(p) => go(withParams({ as: p === "v1" ? "v1" : "" }), true)} />
          {reveal.value ? (
            <Button onClick={() => (reveal.value = false)}>{t.tree.hide}</Button>
          ) : (
            <Button changes onClick={() => (asking.value = true)}>
              {t.tree.reveal}
            </Button>
          )}
        </div>
      }
    >
      {top.error && <Problem error={top.error} again={top.again} />}
      {!top.data && !top.error && <Loading />}
      {top.data && top.data.status !== 200 && (
        <p class="notice">{refusal(top.data.status)}</p>
      )}
      {top.data && top.data.status === 200 && (
        <div class="tree">
          <Entries key={[version, protocol, reveal.value].join()} entries={top.data.entries} view={view} label={t.tree.label} />
        </div>
      )}
      {asking.value && (
        <Dialog
          title={t.tree.revealAsk}
          onClose={() => (asking.value = false)}
          actions={
            <Button
              kind="danger"
              onClick={() => {
                asking.value = false;
                reveal.value = true;
              }}
            >
              {t.tree.revealYes}
            </Button>
          }
        >
          <p>{t.tree.revealSay}</p>
        </Dialog>
      )}
    </Section>
  );
}

function refusal(status: number): string {
  const known: Record<number, string> = { 0: t.tree.status0, 401: t.tree.status401, 403: t.tree.status403 };
  return known[status] ?? t.tree.status(status);
}

function Entries({ entries, view, label }: { entries: TreeEntry[]; view: View; label?: string }) {
  if (entries.length === 0) return <p class="dim">{t.tree.empty}</p>;
  return (
    <ul aria-label={label}>
      {entries.map((e) => (e.kind === "directory" ? <Directory key={e.path} entry={e} view={view} /> : <Leaf key={e.path} entry={e} />))}
    </ul>
  );
}

/** last is the entry's own name: what stands behind the last slash, before its own. */
const last = (path: string) => path.replace(/\/$/, "").split("/").pop() ?? path;

function Value({ entry }: { entry: TreeEntry }) {
  if (entry.value !== undefined) return <code class="value">{entry.value}</code>;
  return <Badge tone="plain">{entry.valueBase64 !== undefined ? t.tree.binary : entry.kind === "absent" ? t.tree.absent : t.tree.hidden}</Badge>;
}

function Leaf({ entry }: { entry: TreeEntry }) {
  return (
    <li>
      <div class="leaf">
        <code class="name">{last(entry.path)}</code>
        <Value entry={entry} />
        {entry.doc && <span class="doc">{entry.doc.split("`").map((part, i) => (i % 2 ? <code key={i}>{part}</code> : part))}</span>}
      </div>
    </li>
  );
}

/** opened are the directories that are open, so that they stay so when the view changes. */
const opened: Signal<ReadonlySet<string>> = signal(new Set(["meta-data/"]));

function Directory({ entry, view }: { entry: TreeEntry; view: View }) {
  const key = entry.path.replace(/\/$/, "") + "/";
  const open = opened.value.has(key);
  const toggle = () => {
    const next = new Set(opened.value);
    if (open) next.delete(key);
    else next.add(key);
    opened.value = next;
  };
  return (
    <li>
      <button type="button" class="twist" aria-expanded={open} onClick={toggle} title={entry.doc}>
        <span class="arrow" aria-hidden="true" />
        <code class="name">{last(entry.path)}/</code>
      </button>
      {open && <Inside path={entry.path.replace(/\/$/, "")} view={view} />}
    </li>
  );
}

function Inside({ path, view }: { path: string; view: View }) {
  const { data, error, again } = useCall(
    "GetMetadataTree",
    { instanceName: view.name, version: view.version, path, protocol: view.protocol, reveal: view.reveal },
    { on: ["instance", "attachment"], name: view.name },
  );
  if (error && !data) return <Problem error={error} again={again} />;
  if (!data) return <Loading />;
  if (data.status !== 200) return <p class="dim">{refusal(data.status)}</p>;
  return <Entries entries={data.entries} view={view} />;
}
