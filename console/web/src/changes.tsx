// What was changed, by whom: the audit log.
import { useSignal } from "@preact/signals";
import { useCall } from "./live";
import { instancePath, Link } from "./route";
import { t } from "./text";
import { Time } from "./time";
import { Badge, Loading, Note, Problem, Scroll, Teach } from "./ui";
import type { AuditEntry } from "./wire";

const shortened = (value: unknown): string => {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text === undefined ? t.none : text.length > 120 ? text.slice(0, 120) + "…" : text;
};

/** differences has what a change touched, member by member. */
function differences(e: AuditEntry): { name: string; before?: unknown; after?: unknown }[] {
  const flat = (of: Record<string, unknown> | undefined, path = ""): [string, unknown][] =>
    Object.entries(of ?? {}).flatMap(([name, value]) =>
      value !== null && typeof value === "object" && !Array.isArray(value) ? flat(value as Record<string, unknown>, path + name + ".") : [[path + name, value] as [string, unknown]],
    );
  const before = new Map(flat(e.before));
  const after = new Map(flat(e.after));
  return [...new Set([...before.keys(), ...after.keys()])]
    .map((name) => ({ name, before: before.get(name), after: after.get(name) }))
    .filter((d) => JSON.stringify(d.before) !== JSON.stringify(d.after));
}

function What({ e }: { e: AuditEntry }) {
  const all = differences(e);
  return (
    <div class="diff">
      {e.failure && (
        <p>
          <Badge tone="bad">{t.changes.failed}</Badge> {e.failure}
        </p>
      )}
      {all.slice(0, 6).map((d) => (
        <p key={d.name}>
          <span class="dim">{d.name}</span> {d.before !== undefined && <del>{shortened(d.before)}</del>} {d.after !== undefined && <ins>{shortened(d.after)}</ins>}
        </p>
      ))}
      {all.length > 6 && <p class="dim">{t.options.confirm.more(all.length - 6)}</p>}
    </div>
  );
}

function On({ resource }: { resource?: string }) {
  if (!resource) return null;
  const [kind, ...rest] = resource.split("/");
  const name = rest.join("/");
  if (kind === "Instance" && name) return <Link to={instancePath(name, "changes")}>{name}</Link>;
  return <>{resource}</>;
}

export function ChangeTable({ entries, one, brief }: { entries: AuditEntry[]; one?: boolean; brief?: boolean }) {
  const cols = t.changes.columns;
  return (
    <Scroll label={t.changes.heading}>
      <table class={brief ? "changes brief" : "changes"}>
        <thead>
          <tr>
            <th scope="col">{cols.when}</th>
            <th scope="col">{cols.what}</th>
            <th scope="col">{cols.change}</th>
          </tr>
        </thead>
        <tbody>
          {entries.map((e, i) => (
            <tr key={e.when + e.change + i}>
              <td class="when">
                <Time at={e.when} />
                <span class="dim clip" title={e.who}>
                  {e.who}
                </span>
              </td>
              <td>
                {e.what}
                {!one && e.resource && (
                  <span class="under">
                    <On resource={e.resource} />
                  </span>
                )}
              </td>
              <td>
                <What e={e} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

const pageSize = 100;

/** Changes has the log of one resource, or of all, page after page. */
export function Changes({ resource }: { resource?: string }) {
  const tokens = useSignal<string[]>([]);
  return (
    <>
      {["", ...tokens.value].map((pageToken, i, all) => (
        <ChangePage key={pageToken} resource={resource} pageToken={pageToken} more={i === all.length - 1 ? (next) => (tokens.value = [...tokens.value, next]) : undefined} />
      ))}
    </>
  );
}

function ChangePage(props: { resource?: string; pageToken: string; more?: (token: string) => void }) {
  const { resource, pageToken } = props;
  const { data, error, again } = useCall("GetAuditEntries", { limit: pageSize, ...(resource && { resource }), ...(pageToken && { pageToken }) }, { on: ["operation"], every: 30_000 });
  if (error && !data) return <Problem error={error} again={again} />;
  if (!data) return <Loading />;
  const next = data.nextPageToken;
  return (
    <>
      {data.incomplete?.map((why) => <Note key={why}>{t.changes.incomplete + ": " + why}</Note>)}
      {data.entries.length > 0 && <ChangeTable entries={data.entries} one={resource !== undefined} />}
      {data.entries.length === 0 && pageToken === "" && <Teach say={t.changes.none} teach={t.changes.noneTeach} command={t.fleet.recentCommand} />}
      {next && props.more && (
        <button type="button" class="button" onClick={() => props.more!(next)}>
          {t.changes.more}
        </button>
      )}
    </>
  );
}

export function ChangesPage() {
  return (
    <main id="content" class="page">
      <div class="head">
        <h1 tabIndex={-1}>{t.changes.heading}</h1>
      </div>
      <Changes />
    </main>
  );
}
