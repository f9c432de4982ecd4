// Times, in the zone of whoever reads them; UTC on hover.
import { t } from "./text";

const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const dayOfYear = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const minute = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });

type Moment = number | string | undefined;

/** moment takes seconds since 1970 or an RFC 3339 text; Go's zero time is none. */
export function moment(at: Moment): Date | undefined {
  if (at === undefined || at === "" || at === 0) return undefined;
  const d = new Date(typeof at === "number" ? at * 1000 : at);
  return isNaN(d.getTime()) || d.getFullYear() < 1971 ? undefined : d;
}

export const utc = (d: Date) => t.utc(d.toISOString().slice(0, 19).replace("T", " "));

export function words(d: Date): string {
  const now = new Date();
  if (d.toDateString() === now.toDateString()) return clock.format(d);
  return (d.getFullYear() === now.getFullYear() ? day : dayOfYear).format(d) + ", " + minute.format(d);
}

export function Time({ at }: { at: Moment }) {
  const d = moment(at);
  if (!d) return <span class="unknown">{t.unknown}</span>;
  return (
    <time dateTime={d.toISOString()} title={utc(d)}>
      {words(d)}
    </time>
  );
}

/** lasting says a number of seconds as people do: "5 min", "2 h". */
export function lasting(seconds: number): string {
  if (seconds % 86400 === 0) return seconds / 86400 + " d";
  if (seconds % 3600 === 0) return seconds / 3600 + " h";
  if (seconds % 60 === 0) return seconds / 60 + " min";
  return seconds + " s";
}

/** The ranges of graphs: how long, and the period of a point. */
export const ranges: Record<string, { length: number; period: number }> = {
  "1h": { length: 3600, period: 300 },
  "6h": { length: 6 * 3600, period: 300 },
  "1d": { length: 86400, period: 900 },
  "1w": { length: 7 * 86400, period: 7200 },
  "2w": { length: 14 * 86400, period: 14400 },
};
export const rangeNames = Object.keys(ranges);

export interface Window {
  start: number;
  end: number;
  period: number;
}

/** windowOf is the time of a range up to now, in whole periods, so that a point keeps its place. */
export function windowOf(name: string, now = Date.now() / 1000): Window {
  const { length, period } = ranges[name] ?? ranges["1h"];
  const end = Math.floor(now / period) * period + period;
  return { start: end - length, end, period };
}

/** zoomedTo is the time of a zoom, widened to whole periods of a fitting length. */
export function zoomedTo(from: number, to: number): Window {
  const fitting = [300, 900, 3600, 7200, 14400].find((p) => (to - from) / p <= 120) ?? 14400;
  const start = Math.floor(from / fitting) * fitting;
  return { start, end: Math.max(start + fitting, Math.ceil(to / fitting) * fitting), period: fitting };
}
