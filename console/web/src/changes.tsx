// What was changed: the operations of an instance, or of all resources.
import { useSignal } from "@preact/signals";
import { Audit } from "./audit";
import { useCall } from "./live";
import { InstanceLink } from "./route";
import { t } from "./text";
import { Time } from "./time";
import { Badge, Loading, Problem, Scroll, Teach } from "./ui";
import type { Operation } from "./wire";

function On({ o }: { o: Operation }) {
  if (o.resourceType === "Instance") return <InstanceLink name={o.resourceName} tab="changes" />;
  return (
    <>
      {o.resourceName} <span class="dim">{o.resourceType}</span>
    </>
  );
}

function Became({ o }: { o: Operation }) {
  if (o.status === "Failed") {
    return (
      <>
        <Badge tone="bad">{t.changes.failed}</Badge> {o.errorDetails ?? o.errorCode}
      </>
    );
  }
  return (
    <>
      <Badge tone={o.isTerminal ? "good" : "warn"}>{o.isTerminal ? t.changes.done : t.changes.underWay}</Badge>{" "}
      {o.operationDetails && <span class="dim">{o.operationDetails}</span>}
    </>
  );
}

export function ChangeTable({ operations, one }: { operations: Operation[]; one?: boolean }) {
  const cols = t.changes.columns;
  return (
    <Scroll label={t.changes.heading}>
      <table class="changes">
        <thead>
          <tr>
            <th scope="col">{cols.when}</th>
            <th scope="col">{cols.what}</th>
            {!one && <th scope="col">{cols.on}</th>}
            <th scope="col">{cols.became}</th>
          </tr>
        </thead>
        <tbody>
          {operations.map((o) => (
            <tr key={o.id}>
              <td class="when">
                <Time at={o.createdAt} />
              </td>
              <td>{o.operationType}</td>
              {!one && (
                <td>
                  <On o={o} />
                </td>
              )}
              <td>
                <Became o={o} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

/** Changes has the operations of one instance, or all, page after page. */
export function Changes({ name }: { name?: string }) {
  const tokens = useSignal<string[]>([]);
  return (
    <>
      {["", ...tokens.value].map((pageToken, i, all) => (
        <ChangePage key={pageToken} name={name} pageToken={pageToken} live={all.length === 1} more={i === all.length - 1 ? (next) => (tokens.value = [...tokens.value, next]) : undefined} />
      ))}
    </>
  );
}

function ChangePage(props: { name?: string; pageToken: string; live: boolean; more?: (token: string) => void }) {
  const { name, pageToken } = props;
  const page = pageToken ? { pageToken } : {};
  const how = props.live ? { on: ["operation"], name } : {}; // else what came since would push lines out between two pages
  const { data, error, again } = name ? useCall("GetOperationsForResource", { resourceName: name, ...page }, how) : useCall("GetOperations", page, how);
  if (error && !data) return <Problem error={error} again={again} />;
  if (!data) return <Loading />;
  const next = data.nextPageToken;
  return (
    <>
      {data.operations.length > 0 && <ChangeTable operations={data.operations} one={name !== undefined} />}
      {data.operations.length === 0 && pageToken === "" && <Teach say={t.changes.none} teach={t.changes.noneTeach} command={t.fleet.recentCommand} />}
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
      <section class="section" aria-label={t.changes.heading}>
        <Changes />
      </section>
      <Audit />
    </main>
  );
}
