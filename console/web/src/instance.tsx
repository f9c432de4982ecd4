// One instance: what it is, and a tab for everything that can be seen and changed of it.
import { AttachmentPart } from "./attachment";
import { Audit } from "./audit";
import { InstanceCallers } from "./callers";
import { Changes } from "./changes";
import { EventsPart } from "./events";
import { FaultsPart } from "./faults";
import { useCall } from "./live";
import { Metrics } from "./metrics";
import { Mode, Options, RehearsalPart, StandingPart } from "./options";
import { instancePath, Link } from "./route";
import { TagsPart } from "./tags";
import { t } from "./text";
import { Time } from "./time";
import { MetadataTree } from "./tree";
import { Badge, Loading, Problem, Section } from "./ui";
import { UserDataPart } from "./userdata";
import type { Instance } from "./wire";

export function InstancePage({ name, tab }: { name: string; tab: string }) {
  const { data, error, again } = useCall("GetInstance", { instanceName: name }, { on: ["instance"], name, every: 30_000 });
  const instance = data?.instance;
  if (!instance && error?.type === "NotFoundException") {
    return (
      <main id="content" class="page">
        <h1 tabIndex={-1}>{t.instance.gone(name)}</h1>
        <p>{t.instance.goneSay}</p>
        <p>
          <Link to="">{t.error.backToFleet}</Link>
        </p>
      </main>
    );
  }
  const gone = instance !== undefined && error?.type === "NotFoundException";
  const known = tab in t.instance.tabs ? tab : "options";
  return (
    <main id="content" class="page">
      <div class="head">
        <h1 tabIndex={-1}>{name}</h1>
        {instance && !gone && (
          <div class="badges">
            <span class={"state " + instance.state.name}>{instance.state.name}</span>
            <Mode options={instance.metadataOptions} />
            {instance.metadataOptions.state === "pending" && <Badge tone="warn">{t.options.pending}</Badge>}
          </div>
        )}
      </div>
      {error && <Problem error={error} again={again} />}
      {!instance && !error && <Loading />}
      {instance && !gone && (
        <>
          <Facts instance={instance} />
          {instance.faults && known !== "faults" && (
            <p class="notice">
              {t.instance.faultsOn} <Link to={instancePath(name, "faults")}>{t.instance.faultsLink}</Link>
            </p>
          )}
          <nav class="tabs" aria-label={t.instance.tabsLabel}>
            {Object.entries(t.instance.tabs).map(([id, text]) => (
              <Link key={id} to={instancePath(name, id)} aria-current={id === known ? "page" : undefined}>
                {text}
              </Link>
            ))}
          </nav>
          <Tab tab={known} instance={instance} again={again} />
        </>
      )}
    </main>
  );
}

function Tab({ tab, instance, again }: { tab: string; instance: Instance; again: () => void }) {
  const name = instance.name;
  switch (tab) {
    case "metrics":
      return <Metrics name={name} />;
    case "callers":
      return (
        <Section title={t.callers.heading}>
          <InstanceCallers name={name} />
        </Section>
      );
    case "metadata":
      return <MetadataTree instance={instance} />;
    case "userdata":
      return <UserDataPart name={name} />;
    case "tags":
      return <TagsPart instance={instance} again={again} />;
    case "events":
      return <EventsPart name={name} />;
    case "faults":
      return <FaultsPart instance={instance} again={again} />;
    case "attachment":
      return <AttachmentPart name={name} />;
    case "changes":
      return (
        <>
          <Section title={t.changes.heading}>
            <Changes name={name} />
          </Section>
          <Audit name={name} />
        </>
      );
  }
  return (
    <div class="columns">
      <div class="stack">
        <Options instance={instance} again={again} />
        <RehearsalPart instance={instance} />
      </div>
      <div class="stack">
        <StandingPart instance={instance} />
      </div>
    </div>
  );
}

function Facts({ instance }: { instance: Instance }) {
  const f = t.instance.facts;
  const id = instance.supportCode.split("/")[1] ?? instance.supportCode;
  const facts: [string, preact.ComponentChildren][] = [
    [f.id, <span class="mono">{id}</span>],
    [f.private, <span class="mono">{instance.privateIpAddress ?? t.instance.noAddress}</span>],
    [f.public, <span class="mono">{instance.publicIpAddress ?? t.instance.noAddress}</span>],
    [f.zone, instance.location.availabilityZone],
    [f.blueprint, instance.blueprintName ?? instance.blueprintId ?? t.unknown],
    [f.bundle, instance.bundleId ?? t.unknown],
    [f.created, <Time at={instance.createdAt} />],
  ];
  return (
    <dl class="facts">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
