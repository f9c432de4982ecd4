// Faults that a guest meets on purpose.
import { call } from "./api";
import { t } from "./text";
import { Time } from "./time";
import { attempt, Badge, Button, Field, Section } from "./ui";
import type { Faults, Input, Instance } from "./wire";

const percent = (share: number | undefined) => (100 * (share ?? 0)).toLocaleString("en", { maximumFractionDigits: 2 }) + " %";

function inWords(f: Faults): string[] {
  const w = t.faults.words;
  const words: string[] = [];
  if (f.latencyMillis) words.push(w.latency(f.latencyMillis));
  if (f.status) words.push(w.status(f.status, percent(f.statusShare)));
  if (f.refuseShare) words.push(w.refuse(percent(f.refuseShare)));
  if (f.dropShare) words.push(w.drop(percent(f.dropShare)));
  if (words.length > 0) words.push(w.on(t.faults.targets[f.on] ?? f.on));
  if (f.expiredCredentials) words.push(w.expired);
  if (f.absentSeconds) words.push(w.absent(f.absentSeconds));
  if (f.count) words.push(w.after(f.met ?? 0, f.count));
  return words;
}

export function FaultsPart({ instance, again }: { instance: Instance; again: () => void }) {
  const faults = instance.faults;
  const change = async (input: Omit<Input<"UpdateInstanceFaults">, "instanceName">) => {
    await attempt(() => call("UpdateInstanceFaults", { instanceName: instance.name, ...input }), t.faults.changed);
    again();
  };
  const submit = (e: SubmitEvent) => {
    e.preventDefault();
    const fields = new FormData(e.currentTarget as HTMLFormElement);
    const given = (name: string) => String(fields.get(name) ?? "") !== "";
    const value = (name: string) => Number(fields.get(name));
    const input: Omit<Input<"UpdateInstanceFaults">, "instanceName"> = { clear: true, on: String(fields.get("on")) };
    if (given("latency")) input.latencyMillis = value("latency");
    if (given("status")) input.status = value("status");
    if (given("status")) input.statusShare = given("share") ? value("share") / 100 : 1;
    if (given("refuse")) input.refuseShare = value("refuse") / 100;
    if (given("drop")) input.dropShare = value("drop") / 100;
    if (fields.get("expired")) input.expiredCredentials = true;
    if (given("absent")) input.absentSeconds = value("absent");
    if (given("minutes")) input.forMillis = value("minutes") * 60_000;
    if (given("count")) input.count = value("count");
    void change(input);
  };
  const f = t.faults;
  return (
    <Section title={f.heading}>
      <ul class="settings">
        <li>
          <div>
            <strong>
              {faults ? <Badge tone="bad">{f.now}</Badge> : f.off} {faults && inWords(faults).join(", ")}
            </strong>
            <p class="dim">
              {faults?.until ? (
                <>
                  {f.words.until} <Time at={faults.until} />
                </>
              ) : (
                f.say
              )}
            </p>
          </div>
          <div class="control">
            <Button changes disabled={!faults} onClick={() => change({ clear: true })}>
              {f.clear}
            </Button>
          </div>
        </li>
      </ul>
      <form class="grid pad" onSubmit={submit}>
        <Field label={f.target}>
          <select name="on">
            {Object.entries(f.targets).map(([value, text]) => (
              <option key={value} value={value}>
                {text}
              </option>
            ))}
          </select>
        </Field>
        <Field label={f.latency}>
          <input name="latency" type="number" min={1} max={300000} />
        </Field>
        <Field label={f.status}>
          <input name="status" type="number" min={400} max={599} />
        </Field>
        <Field label={f.share}>
          <input name="share" type="number" min={0} max={100} step="any" />
        </Field>
        <Field label={f.refuse}>
          <input name="refuse" type="number" min={0} max={100} step="any" />
        </Field>
        <Field label={f.drop}>
          <input name="drop" type="number" min={0} max={100} step="any" />
        </Field>
        <Field label={f.absent}>
          <input name="absent" type="number" min={0} max={3600} />
        </Field>
        <Field label={f.minutes}>
          <input name="minutes" type="number" min={1} max={10080} />
        </Field>
        <Field label={f.count}>
          <input name="count" type="number" min={1} max={1000000000} />
        </Field>
        <label class="check">
          <input name="expired" type="checkbox" /> <span>{f.expired}</span>
        </label>
        <div class="tools">
          <Button type="submit" changes>
            {f.apply}
          </Button>
        </div>
      </form>
    </Section>
  );
}
