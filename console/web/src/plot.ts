// Drawing graphs: in a file of its own, which the page fetches when it has a graph to draw.
import uPlot from "uplot";
import type { Line } from "./chart";
import type { Window } from "./time";

const number = (v: number) => v.toLocaleString("en", { notation: v >= 100_000 ? "compact" : "standard", maximumFractionDigits: 1 });

/** colours are the style sheet's, for a canvas knows none of it. */
function colours(of: Element, v1: boolean) {
  // Only as an element's own colour is a variable resolved to what a canvas understands, high contrast included.
  const probe = of.appendChild(document.createElement("span"));
  const get = (name: string) => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  };
  const found = { bar: get(v1 ? "--v1" : "--chart"), grid: get("--line-soft"), text: get("--dim"), line: get("--bad"), hatch: get("--hatch"), font: "11px " + getComputedStyle(of).fontFamily };
  probe.remove();
  return found;
}

/** hatching draws what is not known, behind the bars. */
function hatching(over: Window, colour: string) {
  return (u: uPlot) => {
    const { ctx, bbox } = u;
    const [times, values] = u.data as [number[], (number | null)[]];
    const now = Date.now() / 1000;
    ctx.save();
    ctx.strokeStyle = colour;
    ctx.lineWidth = devicePixelRatio;
    for (let i = 0; i < times.length; i++) {
      if (values[i] !== null || times[i] > now) continue;
      const x0 = u.valToPos(times[i], "x", true);
      const x1 = u.valToPos(Math.min(times[i] + over.period, now), "x", true);
      ctx.save();
      ctx.beginPath();
      ctx.rect(x0, bbox.top, x1 - x0, bbox.height);
      ctx.clip();
      const step = 7 * devicePixelRatio;
      ctx.beginPath();
      for (let x = Math.floor((x0 - bbox.height) / step) * step; x < x1; x += step) {
        ctx.moveTo(x, bbox.top + bbox.height);
        ctx.lineTo(x + bbox.height, bbox.top);
      }
      ctx.stroke();
      ctx.restore();
    }
    ctx.restore();
  };
}

function thresholds(lines: Line[], c: ReturnType<typeof colours>) {
  return (u: uPlot) => {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = c.line;
    ctx.lineWidth = devicePixelRatio;
    ctx.font = `${11 * devicePixelRatio}px ${c.font.slice(5)}`;
    for (const line of lines) {
      const y = u.valToPos(line.at, "y", true);
      ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]);
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
      ctx.fillText(line.label, bbox.left + 4 * devicePixelRatio, y - 4 * devicePixelRatio);
    }
    ctx.restore();
  };
}

export interface Plot {
  data: [number[], (number | null)[]];
  over: Window;
  lines: Line[];
  height: number;
  v1: boolean;
  /** at is told the beginning of the period that somebody points at; null: of none. */
  at: (time: number | null) => void;
  onZoom?: (from: number, to: number) => void;
}

/** plot draws into an element until what it returns is called. */
export function plot(el: HTMLElement, p: Plot): () => void {
  const { data, over, lines, height, onZoom } = p;
  const c = colours(el, p.v1);
  const most = Math.max(1, ...data[1].map((v) => v ?? 0), ...lines.map((l) => l.at));
  const drawn = new uPlot(
    {
      width: el.clientWidth,
      height,
      legend: { show: false },
      padding: [10, 20, 0, 0],
      cursor: { x: true, y: false, points: { show: false }, drag: { x: onZoom !== undefined, y: false, setScale: false } },
      scales: { x: { time: true, range: () => [over.start, over.end] }, y: { range: () => [0, most * 1.12] } },
      axes: [
        { stroke: c.text, font: c.font, size: 28, grid: { show: false }, ticks: { stroke: c.grid, size: 4, width: 1 }, values: ticks, space: 64 },
        { stroke: c.text, font: c.font, size: 52, gap: 6, grid: { stroke: c.grid, width: 1 }, ticks: { show: false }, space: 34, incrs: whole, values: (_, vs) => vs.map(number) },
      ],
      series: [{}, { fill: c.bar, stroke: c.bar, width: 0, paths: uPlot.paths.bars!({ size: [0.82, 48], align: 1 }), points: { show: false } }],
      hooks: {
        drawClear: [hatching(over, c.hatch)],
        draw: [thresholds(lines, c)],
        setCursor: [(u) => p.at(u.cursor.left !== undefined && u.cursor.left >= 0 ? periodAt(over, u.posToVal(u.cursor.left, "x")) : null)],
        setSelect: [
          (u) => {
            if (u.select.width < 4) return;
            const from = u.posToVal(u.select.left, "x");
            const to = u.posToVal(u.select.left + u.select.width, "x");
            u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
            onZoom?.(from, to);
          },
        ],
      },
    },
    data as uPlot.AlignedData,
    el,
  );
  const watch = new ResizeObserver(() => drawn.setSize({ width: el.clientWidth, height }));
  watch.observe(el);
  return () => {
    watch.disconnect();
    drawn.destroy();
  };
}

const whole = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6, 1e7, 1e8, 1e9];

const periodAt = (over: Window, time: number) => over.start + Math.floor((time - over.start) / over.period) * over.period;

/** ticks say the clock, and the day where a new one begins. */
function ticks(_: uPlot, splits: number[]): string[] {
  const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
  const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
  let before = "";
  return splits.map((s) => {
    const d = new Date(s * 1000);
    const today = day.format(d);
    const text = clock.format(d) === "00:00" || (before !== "" && before !== today) ? today : clock.format(d);
    before = today;
    return text;
  });
}

