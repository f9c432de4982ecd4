// Plans that "openimds migrate" carries out, or has: waves, instances, exceptions, and those of before.
import { useCall, type Answer } from "./live";
import { go, InstanceLink, Link, param, withParams } from "./route";
import { t } from "./text";
import { moment, Time } from "./time";
import { Badge, Command, Loading, Pages, Problem, Scroll, Section, type Tone } from "./ui";
import type { MigratedInstance, Migration, MigrationException, MigrationStep, MigrationWave, Output } from "./wire";

const words = t.plans;
const stateTones: Record<Migration["state"], Tone> = { running: "accent", undoing: "warn", interrupted: "bad", stopped: "bad", finished: "good", undone: "plain" };
const stepTones: Record<MigrationStep, Tone> = {
  waiting: "plain", requiring: "warn", required: "good", skipped: "plain", excepted: "accent", returning: "bad", returned: "bad", undoing: "warn", undone: "plain", kept: "warn", gone: "plain",
};
/** steps are all there are, in the order in which they are counted up. */
const steps = Object.keys(stepTones) as MigrationStep[];
const shown = 50;

const over = (m: Migration) => m.state !== "running" && m.state !== "undoing";
/** stepWords: what nobody will come to any more does not wait. */
const stepWords = (m: Migration, s: MigrationStep) => (s === "waiting" && over(m) && m.state !== "interrupted" ? words.untouched : words.steps[s]);
const sum = (counts: Partial<Record<MigrationStep, number>>) => Object.values(counts).reduce((all, n) => all + n, 0);

function together(m: Migration): Partial<Record<MigrationStep, number>> {
  const all: Partial<Record<MigrationStep, number>> = {};
  for (const wave of Object.values(m.counts)) for (const s of steps) if (wave[s]) all[s] = (all[s] ?? 0) + wave[s];
  return all;
}

/** quoted is a file's name as a shell takes it for one word, and no command for a flag. */
function quoted(name: string): string {
  const word = name.startsWith("-") ? "./" + name : name;
  return /^[\w./@%+=:,-]+$/.test(word) ? word : "'" + word.replaceAll("'", "'\\''") + "'";
}

function State({ of }: { of: Migration }) {
  return of.silent ? <Badge tone="warn">{words.silent}</Badge> : <Badge tone={stateTones[of.state]}>{words.states[of.state]}</Badge>;
}

/** usePlans has what is known of plans; silence comes without an event. */
export const usePlans = () => useCall("GetMigrations", {}, { on: ["migration"], every: 10_000 });

/** Plan is the one that the address names, or the latest. */
export function Plan({ plans }: { plans: Answer<Output<"GetMigrations">> }) {
  if (plans.error && !plans.data) return <Problem error={plans.error} again={plans.again} />;
  const all = plans.data?.migrations ?? [];
  const named = param("plan");
  const m = all.find((one) => one.migrationId === named) ?? all[0];
  if (!m) return null;
  return (
    <Section title={words.heading(m.plan)} aside={<State of={m} />} class="plan">
      {plans.error && <Problem error={plans.error} again={plans.again} />}
      {named !== "" && m.migrationId !== named && <p class="notice quiet">{words.forgotten}</p>}
      <Standing of={m} />
      <dl class="facts pad">
        <div>
          <dt>{words.begun}</dt>
          <dd>
            <Time at={m.begunAt} /> {m.begunBy && <span class="dim">{words.by(m.begunBy)}</span>}
          </dd>
        </div>
        <div>
          <dt>{words.step}</dt>
          <dd>
            <Time at={m.stepAt} />
          </dd>
        </div>
        <div>
          <dt>{words.heard}</dt>
          <dd>
            <Time at={m.heardAt} /> <span class="dim">{words.with(m.toldBy)}</span>
          </dd>
        </div>
      </dl>
      <Waves of={m} />
      <Chosen of={m} />
      {m.exceptions.length > 0 && <Exceptions all={m.exceptions} more={m.moreExceptions} now={plans.data!.time} />}
    </Section>
  );
}

/** Standing says in a sentence what is so now, and what there is to do. */
function Standing({ of: m }: { of: Migration }) {
  const inForce = together(m).required ?? 0;
  const goesOn = m.silent || m.state === "interrupted" || m.state === "stopped";
  const say = m.silent ? words.silentSay(inForce) : words.say[m.state](inForce);
  return (
    <div class={goesOn ? "notice " + (m.silent ? "" : "bad") : "pad"} role="status">
      <div>
        <p>{say}</p>
        {m.reason && <p class="reason">{m.reason}</p>}
      </div>
      {goesOn && <Command text={`openimds migrate resume ${quoted(m.plan)} --yes`} />}
    </div>
  );
}

const kinds = { required: "v2", requiring: "v2", returned: "bad", returning: "bad", undoing: "off", skipped: "off", excepted: "off", undone: "off", kept: "off", gone: "off" } as const;

/** Share is a wave's instances in one line, each step as wide as it is large. */
function Share({ counts }: { counts: Partial<Record<MigrationStep, number>> }) {
  let x = 0;
  const parts = Object.entries(kinds).map(([step, kind]) => {
    const width = counts[step as MigrationStep] ?? 0;
    x += width;
    return <rect key={step} class={kind} x={x - width} width={width} height={1} />;
  });
  return (
    <svg class="bar-of" viewBox={`0 0 ${Math.max(sum(counts), 1)} 1`} preserveAspectRatio="none" aria-hidden="true">
      {parts}
    </svg>
  );
}

function Counts({ of: m, counts }: { of: Migration; counts: Partial<Record<MigrationStep, number>> }) {
  const there = steps.filter((s) => counts[s]);
  if (there.length === 0) return <span class="dim">{t.none}</span>;
  return (
    <span class="counts">
      {there.map((s) => (
        <span key={s} class={s === "returned" || s === "returning" ? "amiss" : ""}>
          {counts[s]!.toLocaleString("en")} {stepWords(m, s)}
        </span>
      ))}
    </span>
  );
}

type Row = { wave: MigrationWave | null; name: string; counts: Partial<Record<MigrationStep, number>> };

/** rows are the waves, and behind them those instances that are in none of them. */
function rows(m: Migration): Row[] {
  const all: Row[] = m.waves.map((wave) => ({ wave, name: wave.name, counts: m.counts[wave.name] ?? {} }));
  if (m.counts[""] && sum(m.counts[""]) > 0) all.push({ wave: null, name: "", counts: m.counts[""] });
  return all;
}

function waveState(m: Migration, w: MigrationWave): [Tone, string] {
  if (w.heldAt) return ["good", words.waves.held];
  if (!w.begunAt) return ["plain", over(m) ? words.waves.never : words.waves.waiting];
  return over(m) || m.silent || m.state === "undoing" ? ["plain", words.waves.broken] : ["accent", words.waves.underWay];
}

function Waves({ of: m }: { of: Migration }) {
  const cols = words.columns;
  const open = param("wave");
  return (
    <Scroll label={words.wavesOf(m.plan)}>
      <table class="waves stacked">
        <thead>
          <tr>
            <th scope="col">{cols.wave}</th>
            <th scope="col">{cols.state}</th>
            <th scope="col">{cols.instances}</th>
            <th scope="col">{cols.since}</th>
            <th scope="col">{cols.until}</th>
          </tr>
        </thead>
        <tbody>
          {rows(m).map((r, i) => {
            const number = String(i + 1);
            const [tone, state] = r.wave ? waveState(m, r.wave) : (["plain", t.none] as [Tone, string]);
            return (
              <tr key={number}>
                <td>
                  <button type="button" class="twist" aria-expanded={open === number} onClick={() => go(withParams({ plan: m.migrationId, wave: open === number ? "" : number, step: "", at: "" }), true)}>
                    <span class="arrow" aria-hidden="true" />
                    {r.wave ? r.name : words.others}
                  </button>
                </td>
                <td>{r.wave ? <Badge tone={tone}>{state}</Badge> : <span class="dim">{state}</span>}</td>
                <td class="share">
                  <Share counts={r.counts} />
                  <Counts of={m} counts={r.counts} />
                </td>
                <td data-label={cols.since}>{r.wave?.begunAt ? <Time at={r.wave.begunAt} /> : <span class="dim">{words.notYet}</span>}</td>
                <td data-label={cols.until}>
                  {r.wave && (r.wave.heldAt || r.wave.heldUntil ? <Time at={r.wave.heldAt ?? r.wave.heldUntil} /> : <span class="dim">{words.hold(r.wave.holdSeconds)}</span>)}
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </Scroll>
  );
}

/** Chosen is the wave that is open, instance by instance. */
function Chosen({ of: m }: { of: Migration }) {
  const row = rows(m)[parseInt(param("wave"), 10) - 1];
  if (!row) return null;
  return <Instances key={m.migrationId + row.name} of={m} row={row} />;
}

function Instances({ of: m, row }: { of: Migration; row: Row }) {
  const step = (steps as string[]).includes(param("step")) ? (param("step") as MigrationStep) : "";
  const page = Math.max(1, parseInt(param("at"), 10) || 1);
  const input = { migrationId: m.migrationId, wave: row.name, page, pageSize: shown, ...(step && { step }) };
  const { data, error, again } = useCall("GetMigratedInstances", input, { on: ["migration"] });
  const heading = row.wave ? words.instancesOf(row.name) : words.others;
  const cols = words.columns;
  return (
    <div class="inner" role="region" aria-label={heading}>
      <div class="tools pad">
        <h3>{heading}</h3>
        <select aria-label={words.show} value={step} onChange={(e) => go(withParams({ step: e.currentTarget.value, at: "" }), true)}>
          <option value="">{words.all}</option>
          {steps.filter((s) => row.counts[s] || s === step).map((s) => (
            <option key={s} value={s}>
              {stepWords(m, s)}
            </option>
          ))}
        </select>
      </div>
      {error && <Problem error={error} again={again} />}
      {!data && !error && <Loading />}
      {data && data.total === 0 && <p class="dim pad">{words.noInstances}</p>}
      {data && data.total > 0 && (
        <>
          <Scroll label={heading}>
            <table class="migrated stacked">
              <thead>
                <tr>
                  <th scope="col">{cols.instance}</th>
                  <th scope="col">{cols.state}</th>
                  <th scope="col">{cols.since}</th>
                  <th scope="col">{cols.why}</th>
                </tr>
              </thead>
              <tbody>
                {data.instances.map((one) => (
                  <tr key={one.place}>
                    <td>
                      <InstanceLink name={one.instanceName} tab={one.step === "returned" || one.step === "returning" ? "callers" : "options"} />
                    </td>
                    <td>
                      <Badge tone={stepTones[one.step]}>{stepWords(m, one.step)}</Badge>
                    </td>
                    <td data-label={cols.since}>{one.at ? <Time at={one.at} /> : <span class="dim">{words.notYet}</span>}</td>
                    <td class="why">
                      <Why of={one} />
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </Scroll>
          <Pages label={heading} page={page} pages={data.pages} total={data.total} to={(n) => go(withParams({ at: n <= 1 ? "" : n }), true)} />
        </>
      )}
    </div>
  );
}

function Why({ of: one }: { of: MigratedInstance }) {
  return (
    <>
      {one.reason}
      {one.owner && (
        <span class={one.reason ? "under dim" : ""}>
          {words.exceptionOf(one.owner)} {t.migration.until} <Time at={one.until} />
        </span>
      )}
    </>
  );
}

function Exceptions({ all, more, now }: { all: MigrationException[]; more: number; now: number }) {
  const cols = words.columns;
  return (
    <div class="inner" role="region" aria-label={words.exceptions}>
      <h3 class="pad">{words.exceptions}</h3>
      <Scroll label={words.exceptions}>
        <table class="exceptions stacked">
          <thead>
            <tr>
              <th scope="col">{cols.forInstances}</th>
              <th scope="col">{cols.callers}</th>
              <th scope="col">{cols.owner}</th>
              <th scope="col">{cols.until}</th>
              <th scope="col">{cols.why}</th>
            </tr>
          </thead>
          <tbody>
            {all.map((e, i) => (
              <tr key={i}>
                <td class="mono">{[...(e.names ?? []), ...(e.tags ?? []).map(words.tag)].join(", ")}</td>
                <td data-label={cols.callers}>{e.userAgent || e.source ? <span class="mono">{[e.userAgent, e.source].filter(Boolean).join(" ")}</span> : <span class="dim">{words.whole}</span>}</td>
                <td data-label={cols.owner}>{e.owner}</td>
                <td data-label={cols.until}>
                  <Time at={e.until} /> {moment(e.until) && e.until <= now && <Badge tone="warn">{words.ended}</Badge>}
                </td>
                <td class="why">{e.reason}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
      {more > 0 && <p class="dim pad">{words.more(more)}</p>}
    </div>
  );
}

/** History are all plans that are remembered, the latest first. */
export function History({ all }: { all: Migration[] }) {
  const cols = words.columns;
  const named = param("plan");
  const here = all.some((m) => m.migrationId === named) ? named : all[0].migrationId;
  return (
    <Section title={words.history}>
      <Scroll label={words.history}>
        <table class="history stacked">
          <thead>
            <tr>
              <th scope="col">{cols.plan}</th>
              <th scope="col">{cols.state}</th>
              <th scope="col">{cols.begun}</th>
              <th scope="col">{cols.step}</th>
              <th scope="col">{cols.instances}</th>
            </tr>
          </thead>
          <tbody>
            {all.map((m) => (
              <tr key={m.migrationId}>
                <td>
                  <Link to={withParams({ plan: m.migrationId, wave: "", step: "", at: "" })} aria-current={m.migrationId === here ? "page" : undefined}>
                    {m.plan}
                  </Link>
                </td>
                <td>
                  <State of={m} />
                </td>
                <td data-label={cols.begun}>
                  <Time at={m.begunAt} /> {m.begunBy && <span class="dim under">{words.by(m.begunBy)}</span>}
                </td>
                <td data-label={cols.step}>
                  <Time at={m.stepAt} />
                </td>
                <td class="why">
                  <Counts of={m} counts={together(m)} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </Section>
  );
}
