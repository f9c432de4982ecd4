// The metadata options of an instance: a switch each, and who would be locked out by it.
import { useSignal, type Signal } from "@preact/signals";
import { useEffect, useId } from "preact/hooks";
import { call, worded } from "./api";
import { callerName } from "./callers";
import { useCall } from "./live";
import { instancePath, Link } from "./route";
import { t } from "./text";
import { Time } from "./time";
import { Amount, attempt, Badge, Button, Dialog, Loading, mayChange, Note, Problem, Section, Switch } from "./ui";
import type { Caller, Input, Instance, MetadataOptions } from "./wire";

/** Verdict is what an instance takes, in two words. */
export function Mode({ options }: { options: MetadataOptions }) {
  if (options.httpEndpoint === "disabled") return <Badge tone="plain">{t.options.off}</Badge>;
  if (options.httpTokens === "required") return <Badge tone="good">{t.options.v2}</Badge>;
  return <Badge tone="warn">{t.options.v1v2}</Badge>;
}

type Change = Partial<Omit<MetadataOptions, "state">>;
type Risk = "tokens" | "endpoint" | "hops" | "ipv6";

interface Asked {
  change: Change;
  risk: Risk;
  title: string;
  yes: string;
  what: string;
}

export function Options({ instance, again }: { instance: Instance; again: () => void }) {
  const asked = useSignal<Asked | null>(null);
  const options = instance.metadataOptions;
  const name = instance.name;

  const apply = async (change: Change, what: string) => {
    asked.value = null;
    await attempt(() => call("UpdateInstanceMetadataOptions", { instanceName: name, ...change } as Input<"UpdateInstanceMetadataOptions">), t.options.changed(what));
    again();
  };

  const rows = [
    {
      label: t.options.tokens,
      say: t.options.tokensSay,
      on: options.httpTokens === "required",
      set: (on: boolean) =>
        on
          ? (asked.value = { change: { httpTokens: "required" }, risk: "tokens", title: t.options.confirm.tokens(name), yes: t.options.confirm.yesTokens, what: t.options.tokens })
          : void apply({ httpTokens: "optional" }, t.options.tokens),
    },
    {
      label: t.options.endpoint,
      say: t.options.endpointSay,
      on: options.httpEndpoint === "enabled",
      set: (on: boolean) =>
        on
          ? void apply({ httpEndpoint: "enabled" }, t.options.endpoint)
          : (asked.value = { change: { httpEndpoint: "disabled" }, risk: "endpoint", title: t.options.confirm.endpoint(name), yes: t.options.confirm.yesEndpoint, what: t.options.endpoint }),
    },
    {
      label: t.options.ipv6,
      say: t.options.ipv6Say,
      on: options.httpProtocolIpv6 === "enabled",
      set: (on: boolean) =>
        on
          ? void apply({ httpProtocolIpv6: "enabled" }, t.options.ipv6)
          : (asked.value = { change: { httpProtocolIpv6: "disabled" }, risk: "ipv6", title: t.options.confirm.ipv6(name), yes: t.options.confirm.yesIpv6, what: t.options.ipv6 }),
    },
  ];

  return (
    <Section title={t.options.heading} aside={<State instance={instance} />}>
      <ul class="settings">
        {rows.map((row) => (
          <Setting key={row.label} label={row.label} say={row.say}>
            {(id) => (
              <>
                <span class="value" aria-hidden="true">
                  {row.on ? t.options.on : t.options.offWord}
                </span>
                <Switch on={row.on} label={row.label} describedBy={id} onChange={row.set} />
              </>
            )}
          </Setting>
        ))}
        <Hops options={options} name={name} asked={asked} apply={apply} />
      </ul>
      {asked.value && <Confirm asked={asked.value} instance={instance} onClose={() => (asked.value = null)} apply={apply} />}
    </Section>
  );
}

function Setting(props: { label: string; say: string; children: (id: string) => preact.ComponentChildren }) {
  const id = useId();
  return (
    <li>
      <div>
        <strong>{props.label}</strong>
        <p id={id} class="dim">
          {props.say}
        </p>
      </div>
      <div class="control">{props.children(id)}</div>
    </li>
  );
}

function Hops(props: { options: MetadataOptions; name: string; asked: Signal<Asked | null>; apply: (c: Change, what: string) => Promise<void> }) {
  const now = props.options.httpPutResponseHopLimit;
  const submit = (e: SubmitEvent) => {
    e.preventDefault();
    const limit = Number(new FormData(e.currentTarget as HTMLFormElement).get("hops"));
    if (limit === now) return;
    const change = { httpPutResponseHopLimit: limit };
    if (limit > now) void props.apply(change, t.options.hops);
    else props.asked.value = { change, risk: "hops", title: t.options.confirm.hops(props.name, limit), yes: t.options.confirm.yesHops, what: t.options.hops };
  };
  return (
    <Setting label={t.options.hops} say={t.options.hopsSay}>
      {(id) => (
        <form onSubmit={submit} class="inline" key={now}>
          <input name="hops" type="number" min={1} max={64} required defaultValue={String(now)} aria-label={t.options.hops} aria-describedby={id} disabled={!mayChange()} />
          <Button type="submit" changes>
            {t.options.set}
          </Button>
        </form>
      )}
    </Setting>
  );
}

/** State says how far the options are, to screen readers too when it changes. */
function State({ instance }: { instance: Instance }) {
  const pending = instance.metadataOptions.state === "pending";
  const long = !pending ? t.options.appliedLong : instance.state.name === "stopped" ? t.options.stoppedLong : t.options.pendingLong;
  return (
    <p class="applied" role="status">
      <Badge tone={pending ? "warn" : "good"}>{pending ? t.options.pending : t.options.applied}</Badge>
      <span class="dim">{long}</span>
    </p>
  );
}

const shown = 8;

/** Confirm names who would be refused before anybody is. */
function Confirm(props: { asked: Asked; instance: Instance; onClose: () => void; apply: (c: Change, what: string) => Promise<void> }) {
  const { asked, instance } = props;
  const c = t.options.confirm;
  const counts = asked.risk === "tokens" || asked.risk === "endpoint";
  return (
    <Dialog
      title={asked.title}
      onClose={props.onClose}
      actions={
        <>
          {asked.risk === "tokens" && (
            <Button
              onClick={async () => {
                props.onClose();
                await rehearse(instance.name);
              }}
            >
              {c.rehearse}
            </Button>
          )}
          <Button kind="danger" onClick={() => props.apply(asked.change, asked.what)}>
            {asked.yes}
          </Button>
        </>
      }
    >
      {counts ? <WouldBeRefused name={instance.name} all={asked.risk === "endpoint"} /> : <p>{asked.risk === "hops" ? c.hopsSay : c.ipv6Say}</p>}
    </Dialog>
  );
}

function WouldBeRefused({ name, all }: { name: string; all: boolean }) {
  const c = t.options.confirm;
  const found = useSignal<{ callers: Caller[]; complete: boolean } | null>(null);
  const failed = useSignal("");
  useEffect(() => {
    const since = Math.floor(Date.now() / 1000) - 86400;
    allCallers(name, since).then(
      ({ callers, complete }) => {
        found.value = { complete, callers: callers.filter((x) => all || (x.lastWithoutToken ?? 0) >= since) };
      },
      (e) => (failed.value = worded(e)),
    );
  }, []);
  if (failed.value) return <p class="notice bad">{c.failed + failed.value}</p>;
  if (found.value === null) return <p aria-busy="true">{c.looking}</p>;
  const { callers, complete } = found.value;
  return (
    <div class="refused">
      <p>{callers.length === 0 ? c.nobody(all, complete) : all ? c.refusedAll(callers.length) : c.refused(callers.length)}</p>
      {callers.length > 0 && (
        <ul>
          {callers.slice(0, shown).map((x) => (
            <li key={x.callerKey}>
              <strong>{callerName(x)}</strong> <span class="dim">{x.source}</span> <Time at={all ? x.lastSeen : x.lastWithoutToken} />
            </li>
          ))}
          {callers.length > shown && <li class="dim">{c.more(callers.length - shown)}</li>}
        </ul>
      )}
      {!complete && <p class="notice">{c.incomplete}</p>}
    </div>
  );
}

/** allCallers reads every page of an instance's callers. */
async function allCallers(instanceName: string, since: number): Promise<{ callers: Caller[]; complete: boolean }> {
  const callers: Caller[] = [];
  let complete = true;
  let pageToken: string | undefined;
  do {
    const page = await call("GetCallers", { instanceName, since, ...(pageToken && { pageToken }) });
    callers.push(...page.callers);
    complete = complete && page.known.every((k) => k.complete);
    pageToken = page.nextPageToken;
  } while (pageToken);
  return { callers, complete };
}

const rehearse = (name: string) => attempt(() => call("StartRehearsal", { instanceName: name, mode: "shadow", seconds: 3600 }), t.rehearsal.begun);

/** Standing is who would be in the way of required tokens, beside the switch that requires them. */
export function StandingPart({ instance }: { instance: Instance }) {
  const since = Math.floor(Date.now() / 3_600_000) * 3600 - 86400;
  const { data, error, again } = useCall("GetCallers", { instanceName: instance.name, since }, { on: ["usage"], every: 10_000, all: "callers" });
  const left = data?.callers.filter((c) => (c.lastWithoutToken ?? 0) >= since) ?? [];
  const complete = data?.known.every((k) => k.complete);
  const required = instance.metadataOptions.httpTokens === "required";
  return (
    <Section title={t.standing.heading} aside={data && <p class="total">{left.length}</p>}>
      {error && !data && <Problem error={error} again={again} />}
      {!data && !error && <Loading />}
      {data && left.length === 0 && <p class="dim pad">{complete ? t.standing.nobody : t.standing.nobodyKnown}</p>}
      {left.length > 0 && (
        <ul class="people">
          {left.slice(0, shown).map((c) => (
            <li key={c.callerKey}>
              <span class="clip" title={callerName(c)}>
                {callerName(c)}
              </span>
              <span class="dim">
                <Amount of={(c.counts.MetadataNoToken ?? 0) + (c.counts.MetadataNoTokenRejected ?? 0)} />
              </span>
              <span class="dim clip">{c.source}</span>
              <span class="dim">
                <Time at={c.lastWithoutToken} />
              </span>
            </li>
          ))}
        </ul>
      )}
      {left.length > 0 && (
        <p class="pad">
          {required && <>{t.standing.refused} </>}
          <Link to={instancePath(instance.name, "callers")}>{t.standing.more}</Link>
        </p>
      )}
      {data && !complete && <Note>{t.options.confirm.incomplete}</Note>}
    </Section>
  );
}

export function RehearsalPart({ instance }: { instance: Instance }) {
  const r = instance.rehearsal;
  return (
    <Section title={t.rehearsal.heading}>
      <ul class="settings">
        <li>
          <p class="dim">{r ? <>{t.rehearsal.running(r.mode)}<Time at={r.until} /></> : t.rehearsal.say}</p>
          <div class="control">
            {r ? (
              <Button changes onClick={() => attempt(() => call("StopRehearsal", { instanceName: instance.name }), t.rehearsal.stopped)}>
                {t.rehearsal.stop}
              </Button>
            ) : (
              <Button changes disabled={instance.metadataOptions.httpTokens === "required"} onClick={() => rehearse(instance.name)}>
                {t.rehearsal.start}
              </Button>
            )}
          </div>
        </li>
      </ul>
    </Section>
  );
}
