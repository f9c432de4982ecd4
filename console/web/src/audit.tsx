// The audit log: who changed what and who was refused, of one resource or of all.
import { useSignal } from "@preact/signals";
import { useCall } from "./live";
import { go, InstanceLink, Link, param, withParams } from "./route";
import { t } from "./text";
import { Time } from "./time";
import { Badge, Choice, Command, Field, Loading, mayChange, Note, Problem, Scroll, Section } from "./ui";
import type { AuditEntry, Input } from "./wire";

function On({ resource }: { resource?: string }) {
  const [type, name] = (resource ?? "").split("/");
  if (type === "Instance" && name) return <InstanceLink name={name} tab="changes" />;
  if (type === "migration" && name) return <Link to={"migration?plan=" + encodeURIComponent(name)}>{t.audit.plan}</Link>;
  if (type === "Report" && name) return <span title={resource}>{t.audit.report}</span>;
  return <>{resource}</>;
}

/** Became is what was changed, or why nothing was. */
function Became({ e }: { e: AuditEntry }) {
  if (e.failure) {
    return (
      <>
        <Badge tone="bad">{e.change ? t.audit.notMade : t.audit.refused}</Badge> {e.failure}
      </>
    );
  }
  const words = e.changed?.filter((w) => !w.startsWith("optionsOperation:")) ?? [];
  return words.length > 0 ? <>{words.join(", ")}</> : <span class="dim">{e.before ? (e.after ? t.audit.other : t.audit.deleted) : e.after ? t.audit.made : ""}</span>;
}

export function AuditTable({ entries, one, brief }: { entries: AuditEntry[]; one?: boolean; brief?: boolean }) {
  const cols = t.audit.columns;
  // The later line takes back what the earlier one told.
  const undone = new Set(entries.filter((e) => e.failure && e.change).map((e) => e.change));
  return (
    <Scroll label={t.audit.heading}>
      <table class={"audit stacked" + (brief ? " brief" : "")}>
        <thead>
          <tr>
            <th scope="col">{cols.when}</th>
            <th scope="col">{cols.who}</th>
            <th scope="col">{cols.what}</th>
            {!one && <th scope="col">{cols.on}</th>}
            <th scope="col">{cols.became}</th>
          </tr>
        </thead>
        <tbody>
          {entries.map((e, i) => (
            <tr key={e.when + e.change + i} class={!e.failure && undone.has(e.change) ? "undone" : undefined}>
              <td class="when">
                <Time at={e.when} />
              </td>
              <td class="by">
                <span class="clip" title={e.who}>
                  {e.who}
                </span>
                {!brief && e.source && <span class="dim under">{e.server ? t.audit.at(e.source, e.server) : e.source}</span>}
              </td>
              <td>{e.what}</td>
              {!one && (
                <td class="on">
                  <On resource={e.resource} />
                </td>
              )}
              <td class="became">
                <Became e={e} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

/** Audit has the log, page after page, with what it is filtered by. */
export function Audit({ name }: { name?: string }) {
  if (!mayChange()) {
    return (
      <Section title={t.audit.heading}>
        <p class="pad dim">{t.audit.readOnly}</p>
      </Section>
    );
  }
  const who = param("who");
  const failed = param("audit") === "failed";
  const asked: Input<"GetAuditEntries"> = { ...(name ? { resource: "Instance/" + name } : {}), ...(who ? { who } : {}), ...(failed ? { failed } : {}) };
  return (
    <Section
      title={t.audit.heading}
      aside={
        <div class="tools">
          <Field label={t.audit.columns.who}>
            <input key={who} type="text" defaultValue={who} placeholder={t.audit.whoHint} spellcheck={false} onChange={(e) => go(withParams({ who: e.currentTarget.value.trim() }), true)} />
          </Field>
          <Choice label={t.audit.show} value={failed ? "failed" : "all"} among={t.audit.filters} onChange={(v) => go(withParams({ audit: v === "failed" ? v : "" }), true)} />
        </div>
      }
    >
      <Pages key={JSON.stringify(asked)} asked={asked} one={name !== undefined} />
      <div class="pad dim">
        <p>{t.audit.command}</p>
        <Command text={name ? t.audit.auditOf(name) : t.audit.audit} />
      </div>
    </Section>
  );
}

function Pages({ asked, one }: { asked: Input<"GetAuditEntries">; one: boolean }) {
  const tokens = useSignal<string[]>([]);
  return (
    <>
      {["", ...tokens.value].map((pageToken, i, all) => (
        <Page key={pageToken} asked={pageToken ? { ...asked, pageToken } : asked} one={one} live={all.length === 1} more={i === all.length - 1 ? (next) => (tokens.value = [...tokens.value, next]) : undefined} />
      ))}
    </>
  );
}

function Page({ asked, one, live, more }: { asked: Input<"GetAuditEntries">; one: boolean; live: boolean; more?: (token: string) => void }) {
  // The next page goes on from where the first one ended: with more than one, what came since would push lines out between them.
  const { data, error, again } = useCall("GetAuditEntries", asked, live ? { on: auditedKinds, every: 30_000 } : {}); // a refusal changes nothing that the page would be told of
  if (error && !data) return <Problem error={error} again={again} />;
  if (!data) return <Loading />;
  const next = data.nextPageToken;
  return (
    <>
      {data.incomplete.map((why) => (
        <Note key={why}>{why}</Note>
      ))}
      {data.entries.length > 0 && <AuditTable entries={data.entries} one={one} />}
      {data.entries.length === 0 && <p class="pad dim">{next ? t.audit.noneHere : asked.pageToken ? t.audit.noMore : t.audit.none}</p>}
      {!next && (
        <p class="pad dim">
          {t.audit.begins(data.server)} <Time at={data.knownSince} />
        </p>
      )}
      {next && more && (
        <button type="button" class="button" onClick={() => more(next)}>
          {t.changes.more}
        </button>
      )}
    </>
  );
}

/** auditedKinds are the changes after which the log has another line. */
export const auditedKinds = ["instance", "attachment", "alarm", "keypair", "staticip", "operation", "defaults", "migration"];
