// Who calls, and what takes each of them to IMDSv2.
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { RangeChoice, rangeOf } from "./range";
import { useCall } from "./live";
import { InstanceLink } from "./route";
import { t } from "./text";
import { Time, windowOf } from "./time";
import { Amount, Loading, Note, Problem, Scroll, Teach } from "./ui";
import type { Advice, Caller, FleetCaller } from "./wire";

type Named = Pick<Caller, "userAgent" | "process">;

/** callerName is what people know a caller by: its program, else what it says of itself. */
export function callerName(c: Named): string {
  const p = c.process;
  if (p?.arguments?.length) return p.arguments.join(" ");
  return p?.executable || c.userAgent || t.callers.noAgent;
}

/** beside is what else is known of it, besides its name. */
const beside = (c: Named, ...more: string[]) =>
  [...more, c.process?.container, c.process?.unit, c.process?.package, c.process ? c.userAgent : ""].filter(Boolean).join(" · ");

/** withToken are all calls of IMDSv2: for a token, with one, and those of both that failed. */
const withToken = (n: Record<string, number>) => (n.MetadataTokenRequests ?? 0) + (n.MetadataWithToken ?? 0) + (n.MetadataWithTokenFailed ?? 0);

function Table({ label, fleet, children }: { label: string; fleet?: boolean; children: ComponentChildren }) {
  const cols = t.callers.columns;
  return (
    <Scroll label={label}>
      {/* The roles stay what they are where a narrow screen has the rows laid out otherwise. */}
      <table class="callers" role="table">
        <thead role="rowgroup">
          <tr role="row">
            <Head>{cols.who}</Head>
            {fleet && <Head>{cols.instance}</Head>}
            <Head number>{cols.v1}</Head>
            <Head number>{cols.refused}</Head>
            <Head number>{cols.v2}</Head>
            <Head>{cols.last}</Head>
            <Head>{cols.todo}</Head>
          </tr>
        </thead>
        <tbody role="rowgroup">{children}</tbody>
      </table>
    </Scroll>
  );
}

const Head = ({ children, number }: { children: string; number?: boolean }) => (
  <th scope="col" role="columnheader" class={number ? "number" : ""}>
    {children}
  </th>
);

const Who = ({ name, more }: { name: string; more: string }) => (
  <td role="cell" class="who">
    <span class="clip" title={name}>
      {name}
    </span>
    {more && (
      <span class="dim clip" title={more}>
        {more}
      </span>
    )}
  </td>
);

const Count = ({ of, label, v1 }: { of: number | undefined; label: string; v1?: boolean }) => (
  <td role="cell" class={"number" + (v1 && of ? " v1" : "")} data-label={label}>
    <Amount of={of ?? 0} />
  </td>
);

const Todo = ({ advice, done }: { advice?: Advice[]; done: string }) => (
  <td role="cell" class="todo">
    {advice?.map((a) => (
      <p key={a.code + a.text}>
        {a.text}
        {a.source?.startsWith("https://") && (
          <>
            {" "}
            <a href={a.source} target="_blank" rel="noreferrer">
              {t.source}
            </a>
          </>
        )}
      </p>
    ))}
    {!advice?.length && <span class="dim">{done}</span>}
  </td>
);

function CallerTable({ callers, label }: { callers: Caller[]; label: string }) {
  const cols = t.callers.columns;
  return (
    <Table label={label}>
      {callers.map((c) => (
        <tr role="row" key={c.callerKey}>
          <Who name={callerName(c)} more={beside(c, c.source)} />
          <Count of={c.counts.MetadataNoToken} label={cols.v1} v1 />
          <Count of={c.counts.MetadataNoTokenRejected} label={cols.refused} />
          <Count of={withToken(c.counts)} label={cols.v2} />
          <td role="cell" class="when">
            <Time at={c.lastSeen} />
            {c.period.kind !== "unknown" && <span class="dim">{c.period.text}</span>}
          </td>
          <Todo advice={c.advice} done={t.callers.done} />
        </tr>
      ))}
    </Table>
  );
}

/** FleetCallerTable has software, wherever it runs. */
export function FleetCallerTable({ callers, label }: { callers: FleetCaller[]; label: string }) {
  const cols = t.callers.columns;
  return (
    <Table label={label} fleet>
      {callers.map((c, i) => (
        <tr role="row" key={i}>
          <Who name={c.others ? t.callers.others : callerName(c)} more={beside(c)} />
          <td role="cell" class="on">
            {c.instanceNames.length > 0 && <InstanceLink name={c.instanceNames[0]} tab="callers" />}
            {c.instances > 1 && <span class="dim"> {t.callers.moreInstances(c.instances)}</span>}
          </td>
          <Count of={c.noToken} label={cols.v1} v1 />
          <Count of={c.counts.MetadataNoTokenRejected} label={cols.refused} />
          <Count of={withToken(c.counts)} label={cols.v2} />
          <td role="cell" class="when">
            <Time at={c.lastWithoutToken} />
          </td>
          <Todo advice={c.advice} done={t.unknown} />
        </tr>
      ))}
    </Table>
  );
}

export function CallersPage() {
  const range = rangeOf("1d");
  const { data, error, again } = useCall("GetFleetCallers", { since: windowOf(range).start, limit: 200 }, { on: ["usage"], every: 30_000 });
  return (
    <main id="content" class="page">
      <div class="head">
        <h1 tabIndex={-1}>{t.fleet.inTheWay}</h1>
        <RangeChoice value={range} />
      </div>
      <section class="section" aria-label={t.fleet.inTheWay}>
      {error && <Problem error={error} again={again} />}
      {!data && !error && <Loading />}
      {data?.incomplete?.map((why) => <Note key={why}>{why}</Note>)}
      {data && data.callers.length > 0 && <FleetCallerTable callers={data.callers} label={t.fleet.inTheWay} />}
        {data && data.callers.length === 0 && <Teach say={data.incomplete?.length ? t.fleet.inTheWayUnknown : t.fleet.inTheWayNone} teach={t.fleet.inTheWayTeach} command={t.fleet.inTheWayCommand} />}
      </section>
    </main>
  );
}

/** InstanceCallers has one page of an instance's callers after the other. */
export function InstanceCallers({ name }: { name: string }) {
  const range = rangeOf("1d");
  const tokens = useSignal<string[]>([]);
  const since = windowOf(range).start;
  return (
    <>
      <div class="tools">
        <RangeChoice value={range} onChange={() => (tokens.value = [])} />
      </div>
      {["", ...tokens.value].map((pageToken, i, all) => (
        <CallerPage key={range + pageToken} name={name} since={since} pageToken={pageToken} more={i === all.length - 1 ? (next) => (tokens.value = [...tokens.value, next]) : undefined} />
      ))}
    </>
  );
}

function CallerPage(props: { name: string; since: number; pageToken: string; more?: (token: string) => void }) {
  const { name, since, pageToken } = props;
  const { data, error, again } = useCall("GetCallers", { instanceName: name, since, ...(pageToken && { pageToken }) }, { on: ["usage"], every: 10_000 });
  if (error && !data) return <Problem error={error} again={again} />;
  if (!data) return <Loading />;
  const next = data.nextPageToken;
  return (
    <>
      {error && <Problem error={error} again={again} />}
      {data.known.some((k) => !k.complete) && <Note>{t.callers.incomplete}</Note>}
      {data.callers.length > 0 && <CallerTable callers={data.callers} label={t.callers.heading} />}
      {data.callers.length === 0 && pageToken === "" && !next && <Teach say={t.callers.none} teach={t.callers.noneTeach} />}
      {next && props.more && (
        <button type="button" class="button" onClick={() => props.more!(next)}>
          {t.callers.more}
        </button>
      )}
    </>
  );
}
