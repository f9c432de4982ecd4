// What was counted of an instance, as graphs that share their time.
import { useCall } from "./live";
import { Chart, sumOf, type Line } from "./chart";
import { RangeChoice, rangeOf, shownWindow, zoom } from "./range";
import { t } from "./text";
import type { Window } from "./time";
import { Amount, Loading, Note, Problem, Section } from "./ui";
import type { Alarm } from "./wire";

export function Metrics({ name }: { name: string }) {
  const range = rangeOf("6h");
  const { zoomed, ...over } = shownWindow(range);
  const alarms = useCall("GetAlarms", { monitoredResourceName: name }, { on: ["alarm"], all: "alarms" });
  return (
    <>
      <div class="tools above">
        <RangeChoice value={range} zoomed={zoomed} />
      </div>
      <div class="charts">
        {Object.keys(t.metrics.names).map((metric) => (
          <Metric key={metric} name={name} metric={metric} over={over} zoomed={zoomed} alarms={alarms.data?.alarms ?? []} />
        ))}
      </div>
    </>
  );
}

function Metric(props: { name: string; metric: string; over: Window; zoomed: boolean; alarms: Alarm[] }) {
  const { name, metric, over } = props;
  const input = { instanceName: name, metricName: metric, period: over.period, startTime: over.start, endTime: over.end, statistics: ["Sum"] };
  const { data, error, again } = useCall("GetMetricData", input, props.zoomed ? {} : { on: ["usage"], every: 30_000 });
  const points = data?.metricData ?? [];
  const total = data ? sumOf(points) : null;
  // An alarm counts in periods of its own: its threshold is a line only where the graph's are the same.
  const lines: Line[] = props.alarms
    .filter((a) => a.metricName === metric && a.period === over.period)
    .map((a) => ({ at: a.threshold, label: t.metrics.alarm(a.name) }));
  return (
    <Section
      title={t.metrics.names[metric]}
      aside={
        <p class="total" data-metric={metric} data-total={total ?? ""}>
          {data && <Amount of={total} />}
        </p>
      }
    >
      {error && <Problem error={error} again={again} />}
      {!data && !error && <Loading />}
      {data && <Chart name={t.metrics.names[metric]} points={points} over={over} lines={lines} v1={metric === "MetadataNoToken"} onZoom={zoom} />}
      {data && !data.known.complete && points.length > 0 && <Note>{t.metrics.incomplete}</Note>}
      {data && points.length === 0 && <Note>{t.metrics.nothing}</Note>}
    </Section>
  );
}
