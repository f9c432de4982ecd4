// Where an instance's guest calls from, and why it is not reached.
import { useSignal } from "@preact/signals";
import { call } from "./api";
import { useCall } from "./live";
import { t } from "./text";
import { Time } from "./time";
import { attempt, Badge, Button, Dialog, Field, Loading, Problem, Section, Teach } from "./ui";
import type { Attachment, Input } from "./wire";

const tone = { attached: "good", waiting: "warn", failed: "bad", gone: "bad", unknown: "plain" } as Record<string, "good" | "warn" | "bad" | "plain">;

const placeOf = (a: Attachment) =>
  a.interface ? `${t.attachment.interface} ${a.interface}` : a.networkNamespace ? `${t.attachment.netns} ${a.networkNamespace}` : `${t.attachment.process} ${a.processId}`;

export function AttachmentPart({ name }: { name: string }) {
  const { data, error, again } = useCall("GetAttachments", {}, { on: ["attachment", "host"], every: 10_000 });
  const asking = useSignal(false);
  const mine = data?.attachments.find((a) => a.instanceName === name);
  const detach = async () => {
    asking.value = false;
    await attempt(() => call("DetachInstance", { instanceName: name }), t.attachment.detached);
    again();
  };
  return (
    <>
      <Section
        title={t.attachment.heading}
        aside={
          mine && (
            <Button changes onClick={() => (asking.value = true)}>
              {t.attachment.detach}
            </Button>
          )
        }
      >
        {error && <Problem error={error} again={again} />}
        {!data && !error && <Loading />}
        {data && !mine && <Teach say={t.attachment.none} teach={t.attachment.noneTeach} command={t.attachment.command(name)} />}
        {mine && <Shown a={mine} />}
        {asking.value && (
          <Dialog
            title={t.attachment.detachAsk(name)}
            onClose={() => (asking.value = false)}
            actions={
              <Button kind="danger" onClick={detach}>
                {t.attachment.detach}
              </Button>
            }
          >
            <p>{t.attachment.detachSay}</p>
          </Dialog>
        )}
      </Section>
      {data && !mine && <Attach name={name} again={again} />}
    </>
  );
}

function Shown({ a }: { a: Attachment }) {
  const cols = t.attachment.columns;
  return (
    <>
      <dl class="facts pad">
        <div>
          <dt>{cols.state}</dt>
          <dd>
            <Badge tone={tone[a.state] ?? "plain"}>{t.attachment.state[a.state] ?? a.state}</Badge>
          </dd>
        </div>
        <div>
          <dt>{cols.place}</dt>
          <dd>
            {placeOf(a)}
            {a.sources?.length ? " · " + a.sources.join(", ") : ""}
          </dd>
        </div>
        {a.host && (
          <div>
            <dt>{cols.host}</dt>
            <dd>{a.host}</dd>
          </div>
        )}
        <div>
          <dt>{cols.since}</dt>
          <dd>
            <Time at={a.createdAt} />
          </dd>
        </div>
        {a.guestInterfaces?.map((g, i) => (
          <div key={i}>
            <dt>{cols.interfaces}</dt>
            <dd class="mono">{[g.macAddress ?? t.unknown, ...(g.addresses ?? [])].join("  ")}</dd>
          </div>
        ))}
      </dl>
      {a.reason && <p class="notice">{a.reason}</p>}
    </>
  );
}

type Kind = "interface" | "networkNamespace" | "processId";

function Attach({ name, again }: { name: string; again: () => void }) {
  const submit = async (e: SubmitEvent) => {
    e.preventDefault();
    const fields = new FormData(e.currentTarget as HTMLFormElement);
    const kind = fields.get("kind") as Kind;
    const place = String(fields.get("place")).trim();
    const input = { instanceName: name, [kind]: kind === "processId" ? Number(place) : place } as Input<"AttachInstance">;
    await attempt(() => call("AttachInstance", input), t.attachment.attachedNow);
    again();
  };
  return (
    <Section title={t.attachment.attach}>
      <form class="inline pad" onSubmit={submit}>
        <Field label={t.attachment.kind}>
          <select name="kind">
            {Object.entries(t.attachment.kinds).map(([value, text]) => (
              <option key={value} value={value}>
                {text}
              </option>
            ))}
          </select>
        </Field>
        <Field label={t.attachment.placeName}>
          <input name="place" required spellcheck={false} />
        </Field>
        <Button type="submit" changes>
          {t.attachment.attach}
        </Button>
      </form>
    </Section>
  );
}
