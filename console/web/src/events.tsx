// What is announced to an instance's guest: interruptions, recommendations, maintenance.
import { useSignal } from "@preact/signals";
import { call } from "./api";
import { useCall } from "./live";
import { t } from "./text";
import { Time } from "./time";
import { attempt, Badge, Button, Field, Loading, Problem, Section } from "./ui";
import type { Input, WholeInstance } from "./wire";

type Kind = "spot" | "rebalance" | "maintenance" | "lifecycle";

export function EventsPart({ name }: { name: string }) {
  const { data, error, again } = useCall("DescribeInstance", { instanceName: name }, { on: ["instance"], name });
  const clear = async (kind: Kind) => {
    await attempt(() => call("UpdateInstanceEvents", { instanceName: name, clear: [kind] }), t.events.cleared);
    again();
  };
  return (
    <>
      <Section title={t.events.heading}>
        {error && <Problem error={error} again={again} />}
        {!data && !error && <Loading />}
        {data && <Announced events={data.instance.events ?? {}} clear={clear} />}
      </Section>
      <Announce name={name} again={again} />
    </>
  );
}

function Announced({ events, clear }: { events: NonNullable<WholeInstance["events"]>; clear: (kind: Kind) => void }) {
  const rows: { kind: Kind; what: string; text: preact.ComponentChildren }[] = [];
  if (events.spot) rows.push({ kind: "spot", what: t.events.spot, text: <>{events.spot.action} {t.events.at} <Time at={events.spot.time} /></> });
  if (events.rebalanceAt) rows.push({ kind: "rebalance", what: t.events.rebalance, text: <Time at={events.rebalanceAt} /> });
  if (events.lifecycleState) rows.push({ kind: "lifecycle", what: t.events.lifecycle, text: events.lifecycleState });
  for (const m of events.maintenance ?? []) {
    rows.push({
      kind: "maintenance",
      what: t.events.maintenance,
      text: (
        <>
          <Badge tone={m.state === "active" ? "warn" : "plain"}>{m.state}</Badge> {m.code} {m.description && "· " + m.description + " "}
          {t.events.at} <Time at={m.notBefore} />
        </>
      ),
    });
  }
  if (rows.length === 0) return <p class="dim pad">{t.events.none}</p>;
  return (
    <ul class="settings">
      {rows.map((row, i) => (
        <li key={i}>
          <div>
            <strong>{row.what}</strong>
            <p>{row.text}</p>
          </div>
          <div class="control">
            {rows.findIndex((r) => r.kind === row.kind) === i && (
              <Button changes label={t.events.clearKind(row.what)} onClick={() => clear(row.kind)}>
                {t.events.clear}
              </Button>
            )}
          </div>
        </li>
      ))}
    </ul>
  );
}

const kinds: Record<Kind, string> = { spot: t.events.spot, rebalance: t.events.rebalance, maintenance: t.events.maintenance, lifecycle: t.events.lifecycle };

function Announce({ name, again }: { name: string; again: () => void }) {
  const kind = useSignal<Kind>("spot");
  const submit = async (e: SubmitEvent) => {
    e.preventDefault();
    const fields = new FormData(e.currentTarget as HTMLFormElement);
    const text = (n: string) => String(fields.get(n) ?? "");
    const time = Math.floor(Date.now() / 1000 + Number(text("minutes")) * 60);
    const input: Input<"UpdateInstanceEvents"> = { instanceName: name };
    if (kind.value === "spot") input.spot = { action: text("action"), time };
    if (kind.value === "rebalance") input.rebalance = { noticeTime: time };
    if (kind.value === "lifecycle") input.lifecycleState = text("state");
    if (kind.value === "maintenance") input.maintenance = { code: text("code"), notBefore: time, ...(text("description") && { description: text("description") }) };
    await attempt(() => call("UpdateInstanceEvents", input), t.events.announced);
    again();
  };
  return (
    <Section title={t.events.announceHeading}>
      <form class="inline pad" onSubmit={submit}>
        <Field label={t.events.kind}>
          <select value={kind.value} onChange={(e) => (kind.value = e.currentTarget.value as Kind)}>
            {Object.entries(kinds).map(([k, text]) => (
              <option key={k} value={k}>
                {text}
              </option>
            ))}
          </select>
        </Field>
        {kind.value === "spot" && (
          <Field label={t.events.action}>
            <select name="action">
              <option>terminate</option>
              <option>stop</option>
              <option>hibernate</option>
            </select>
          </Field>
        )}
        {kind.value === "maintenance" && (
          <>
            <Field label={t.events.code}>
              <select name="code">
                <option>system-reboot</option>
                <option>instance-reboot</option>
                <option>system-maintenance</option>
                <option>instance-retirement</option>
                <option>instance-stop</option>
              </select>
            </Field>
            <Field label={t.events.description}>
              <input name="description" maxLength={200} />
            </Field>
          </>
        )}
        {kind.value === "lifecycle" ? (
          <Field label={t.events.state}>
            <input name="state" required defaultValue="Terminated" />
          </Field>
        ) : (
          <Field label={t.events.inMinutes}>
            <input name="minutes" type="number" min={0} max={20160} required defaultValue="2" key={kind.value} />
          </Field>
        )}
        <Button type="submit" kind="primary" changes>
          {t.events.announce}
        </Button>
      </form>
    </Section>
  );
}
