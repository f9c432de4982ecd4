// Graphs of counts over time: a bar for each period, what is unknown hatched, thresholds of alarms as lines.
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { t } from "./text";
import { scheme } from "./theme";
import { lasting, utc, words, type Window } from "./time";
import { Amount, Choice, Scroll } from "./ui";
import type { Datapoint } from "./wire";

export interface Line {
  at: number;
  label: string;
}

interface Props {
  name: string;
  points: Datapoint[];
  over: Window;
  lines?: Line[];
  height?: number;
  /** v1 says that it counts calls without a token, which have a colour of their own everywhere. */
  v1?: boolean;
  /** onZoom is told the time that somebody has drawn over. */
  onZoom?: (from: number, to: number) => void;
}

/** columns has a value for each period of the window, null where nothing is known. */
export function columns(points: Datapoint[], over: Window): [number[], (number | null)[]] {
  const known = new Map(points.map((p) => [Math.round(p.timestamp), p.sum ?? null]));
  const times: number[] = [];
  const values: (number | null)[] = [];
  for (let at = over.start; at < over.end; at += over.period) {
    times.push(at);
    values.push(known.get(at) ?? null);
  }
  return [times, values];
}

export const sumOf = (points: Datapoint[]): number | null => (points.length === 0 ? null : points.reduce((sum, p) => sum + (p.sum ?? 0), 0));

export function Graph(props: Props) {
  const { points, over, lines = [], height = 168, v1 = false, onZoom } = props;
  const box = useRef<HTMLDivElement>(null);
  const at = useSignal<number | null>(null);
  const data = columns(points, over);
  const latest = useRef({ data, over, lines, onZoom });
  latest.current = { data, over, lines, onZoom };
  const key = JSON.stringify([data, over, lines, scheme.value, height]);

  useEffect(() => {
    const el = box.current;
    if (!el) return;
    let over = false;
    let end = () => {};
    void import("./plot").then(({ plot }) => {
      if (!over) end = plot(el, { ...latest.current, height, v1, at: (time) => (at.value = time), onZoom: latest.current.onZoom && ((from, to) => latest.current.onZoom?.(from, to)) });
    });
    return () => {
      over = true;
      end();
    };
  }, [key]);

  const hovered = at.value === null ? -1 : data[0].indexOf(at.value);
  const total = sumOf(points);
  return (
    <div class="graph">
      <p class="reading" aria-hidden="true">
        {hovered >= 0 ? (
          <>
            <span>{words(new Date(data[0][hovered] * 1000))}</span>
            <span class="dim">{utc(new Date(data[0][hovered] * 1000))}</span>
            <strong>{data[1][hovered] === null ? t.unknown : t.calls(data[1][hovered]!)}</strong>
          </>
        ) : (
          <span class="dim">
            {t.metrics.period(lasting(over.period))}
            {data[1].includes(null) && " · " + t.metrics.missing}
            {onZoom && " · " + t.metrics.zoomHint}
          </span>
        )}
      </p>
      <div ref={box} class="canvas" role="img" aria-label={t.metrics.describe(props.name, total === null ? t.unknown : t.calls(total), points.length)} />
    </div>
  );
}

/** Numbers is what a graph shows, as a table. */
export function Numbers({ name, points, over }: Props) {
  const [times, values] = columns(points, over);
  const now = Date.now() / 1000;
  return (
    <Scroll label={name}>
      <table class="numbers">
        <thead>
          <tr>
            <th scope="col">{t.metrics.time}</th>
            <th scope="col" class="number">
              {t.metrics.value}
            </th>
          </tr>
        </thead>
        <tbody>
          {times
            .map((at, i) => ({ at, value: values[i] }))
            .filter((row) => row.at <= now)
            .reverse()
            .map(({ at, value }) => (
              <tr key={at}>
                <td>
                  <time dateTime={new Date(at * 1000).toISOString()} title={utc(new Date(at * 1000))}>
                    {words(new Date(at * 1000))}
                  </time>
                </td>
                <td class="number">
                  <Amount of={value} />
                </td>
              </tr>
            ))}
        </tbody>
      </table>
    </Scroll>
  );
}

/** Chart is a graph with its table behind it. */
export function Chart(props: Props) {
  const table = useSignal(false);
  return (
    <>
      <Choice
        label={t.metrics.view(props.name)}
        value={table.value ? "table" : "graph"}
        among={{ graph: t.metrics.graph, table: t.metrics.table }}
        onChange={(v) => (table.value = v === "table")}
      />
      {table.value ? <Numbers {...props} /> : <Graph {...props} />}
    </>
  );
}

/** Spark is a graph in a line of text; the number beside it says what it shows. */
export function Spark({ points, over }: { points: Datapoint[]; over: Window }) {
  const values = columns(points, over)[1];
  const most = Math.max(1, ...values.map((v) => v ?? 0));
  const width = 100 / values.length;
  return (
    <svg class="spark" viewBox="0 0 100 20" preserveAspectRatio="none" aria-hidden="true">
      {values.map((v, i) => v !== null && v > 0 && <rect key={i} x={i * width} width={Math.max(width * 0.8, 0.8)} y={20 - Math.max(1.5, (v / most) * 20)} height={Math.max(1.5, (v / most) * 20)} />)}
    </svg>
  );
}
