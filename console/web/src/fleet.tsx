// The fleet: how far it is from IMDSv1 to v2, and who is in the way.
import { useCall } from "./live";
import { Alarms } from "./alarms";
import { AuditTable, auditedKinds } from "./audit";
import { FleetCallerTable } from "./callers";
import { ChangeTable } from "./changes";
import { Chart, Spark, sumOf } from "./chart";
import { Instances } from "./instances";
import { RangeChoice, rangeOf, shownWindow, zoom } from "./range";
import { go, InstanceLink, Link, withParams } from "./route";
import { t } from "./text";
import type { Window } from "./time";
import { Amount, Badge, Loading, mayChange, Note, Problem, Section, Teach } from "./ui";
import type { Output } from "./wire";

export function FleetPage() {
  const range = rangeOf("1d");
  const { zoomed, ...over } = shownWindow(range);
  const fleet = useCall("GetFleet", { since: over.start }, { on: ["instance", "attachment", "usage"], every: 30_000 });
  return (
    <main id="content" class="page fleet">
      <div class="head">
        <h1 tabIndex={-1}>{t.fleet.title}</h1>
        <RangeChoice value={range} zoomed={zoomed} />
      </div>
      {fleet.error && <Problem error={fleet.error} again={fleet.again} />}
      {fleet.data ? <Standing fleet={fleet.data} /> : !fleet.error && <Loading />}
      <NoToken range={range} over={over} zoomed={zoomed} />
      <Instances since={over.start} />
      <InTheWay since={over.start} />
      <div class="columns">
        <Recent />
        <Section title={t.fleet.alarms} aside={<Link to="alarms">{t.nav.alarms}</Link>}>
          <Alarms brief />
        </Section>
      </div>
    </main>
  );
}

/** Standing is the fleet in one line: each part is as wide as it is large, and filters the list. */
function Standing({ fleet }: { fleet: Output<"GetFleet"> }) {
  const parts = [
    { filter: "v1AndV2", text: t.fleet.both, count: fleet.optional, kind: "v1" },
    { filter: "v2Only", text: t.fleet.v2Only, count: fleet.required, kind: "v2" },
    { filter: "disabled", text: t.fleet.disabled, count: fleet.disabled, kind: "off" },
  ];
  const show = (filter: string) => {
    go(withParams({ filter, page: "" }));
    document.getElementById("instances")?.scrollIntoView({ block: "start" });
  };
  return (
    <div class="standing">
      <svg class="bar-of" viewBox={`0 0 ${Math.max(fleet.instances, 1)} 1`} preserveAspectRatio="none" aria-hidden="true">
        {parts.map((p, i) => (
          <rect key={p.filter} class={p.kind} x={parts.slice(0, i).reduce((sum, q) => sum + q.count, 0)} width={p.count} height={1} />
        ))}
      </svg>
      <div class="figures">
        {parts.map((p) => (
          <button key={p.filter} type="button" class={"figure " + p.kind} onClick={() => show(p.filter)}>
            <span class="big">
              <Amount of={p.count} />
            </span>
            <span class="what">{p.text}</span>
          </button>
        ))}
        <p class="figure rest">
          <span>{t.instancesOf(fleet.instances)}</span>
          {fleet.pending > 0 && <Badge tone="warn">{t.fleet.pending(fleet.pending)}</Badge>}
          {fleet.unheard > 0 && <Badge tone="warn">{t.fleet.unheard(fleet.unheard)}</Badge>}
        </p>
      </div>
    </div>
  );
}

function NoToken({ range, over, zoomed }: { range: string; over: Window; zoomed: boolean }) {
  const input = { metricName: "MetadataNoToken", startTime: over.start, endTime: over.end, period: over.period, worst: 10 };
  const { data, error, again } = useCall("GetFleetMetricData", input, zoomed ? {} : { on: ["usage"], every: 30_000 });
  const total = data ? sumOf(data.datapoints) : null;
  return (
    <div class="columns graphs">
      <Section
        title={t.fleet.noToken}
        class="wide"
        aside={
          <p class="total" data-total={total ?? ""}>
            {data && <Amount of={total} />} <span class="dim">{zoomed ? "" : t.since[range]}</span>
          </p>
        }
      >
        {error && <Problem error={error} again={again} />}
        {data && <Chart name={t.fleet.noToken} points={data.datapoints} over={over} onZoom={zoom} height={200} v1 />}
        {!data && !error && <Loading />}
        {data?.incomplete?.map((why) => <Note key={why}>{why}</Note>)}
      </Section>
      <Section title={t.fleet.worst}>
        {data && data.worst.length === 0 && <p class="dim pad">{data.incomplete?.length ? t.fleet.worstUnknown : t.fleet.worstNone}</p>}
        <ol class="worst">
          {data?.worst.map((w) => (
            <li key={w.instanceName}>
              <InstanceLink name={w.instanceName} tab="metrics" />
              <Spark points={w.datapoints} over={over} />
              <span class="number">
                <Amount of={w.sum} />
              </span>
            </li>
          ))}
        </ol>
      </Section>
    </div>
  );
}

const inTheWayShown = 6;

function InTheWay({ since }: { since: number }) {
  const { data, error, again } = useCall("GetFleetCallers", { since, limit: inTheWayShown }, { on: ["usage"], every: 30_000 });
  return (
    <Section title={t.fleet.inTheWay} aside={
        <p>
          {data && data.total > 0 && <span class="dim">{t.callers.total(data.callers.length, data.total)} · </span>}
          <Link to="callers">{t.fleet.allCallers}</Link>
        </p>
      }>
      {error && <Problem error={error} again={again} />}
      {!data && !error && <Loading />}
      {data?.incomplete?.map((why) => <Note key={why}>{why}</Note>)}
      {data && data.callers.length > 0 && <FleetCallerTable callers={data.callers} label={t.fleet.inTheWay} />}
      {data && data.callers.length === 0 && (
        <Teach say={data.incomplete?.length ? t.fleet.inTheWayUnknown : t.fleet.inTheWayNone} teach={t.fleet.inTheWayTeach} command={t.fleet.inTheWayCommand} />
      )}
    </Section>
  );
}

const recentShown = 8;

/** Recent is what was changed lately: who did it is told to keys that may change something. */
function Recent() {
  return mayChange() ? <RecentAudit /> : <RecentOperations />;
}

function RecentAudit() {
  const { data, error, again } = useCall("GetAuditEntries", { pageSize: recentShown }, { on: auditedKinds });
  return (
    <Section title={t.fleet.recent} aside={<Link to="changes">{t.fleet.allChanges}</Link>}>
      {error && <Problem error={error} again={again} />}
      {!data && !error && <Loading />}
      {data?.incomplete.map((why) => <Note key={why}>{why}</Note>)}
      {data && data.entries.length > 0 && <AuditTable entries={data.entries} brief />}
      {data && data.entries.length === 0 && <Teach say={t.fleet.recentNone} command={t.fleet.recentCommand} />}
    </Section>
  );
}

function RecentOperations() {
  const { data, error, again } = useCall("GetOperations", {}, { on: ["operation"] });
  return (
    <Section title={t.fleet.recent} aside={<Link to="changes">{t.fleet.allChanges}</Link>}>
      {error && <Problem error={error} again={again} />}
      {!data && !error && <Loading />}
      {data && data.operations.length > 0 && <ChangeTable operations={data.operations.slice(0, recentShown)} />}
      {data && data.operations.length === 0 && <Teach say={t.fleet.recentNone} command={t.fleet.recentCommand} />}
    </Section>
  );
}
