// The time that a page shows, which stands in its address.
import { go, param, withParams } from "./route";
import { t } from "./text";
import { rangeNames, windowOf, zoomedTo, type Window } from "./time";
import { Button, Choice } from "./ui";

/** rangeOf is the range that the address names, or the given one. */
export function rangeOf(otherwise: string): string {
  const named = param("range");
  return rangeNames.includes(named) ? named : otherwise;
}

/** shownWindow is the zoom that the address names, or the range up to now. */
export function shownWindow(range: string): Window & { zoomed: boolean } {
  const from = Number(param("from"));
  const to = Number(param("to"));
  if (from > 0 && to > from) return { ...zoomedTo(from, to), zoomed: true };
  return { ...windowOf(range), zoomed: false };
}

export const zoom = (from: number, to: number) => go(withParams({ from: Math.floor(from), to: Math.ceil(to) }));

export function RangeChoice({ value, onChange, zoomed }: { value: string; onChange?: () => void; zoomed?: boolean }) {
  return (
    <div class="range">
      {zoomed && (
        <Button kind="quiet" onClick={() => go(withParams({ from: "", to: "" }))}>
          {t.range.reset}
        </Button>
      )}
      <Choice
        label={t.range.label}
        value={zoomed ? "" : value}
        among={t.rangeShort}
        long={Object.fromEntries(rangeNames.map((r) => [r, t.range[r]]))}
        onChange={(range) => {
          onChange?.();
          go(withParams({ range, from: "", to: "" }), true);
        }}
      />
    </div>
  );
}
