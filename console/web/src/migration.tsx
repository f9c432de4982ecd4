// The way from IMDSv1 to v2: who may require tokens and who may not, rehearsals, and the report for who signs off on it.
import { useEffect } from "preact/hooks";
import { useCall } from "./live";
import { History, Plan, usePlans } from "./plans";
import { Report } from "./report";
import { go, InstanceLink, param, withParams } from "./route";
import { t } from "./text";
import { Time } from "./time";
import { Amount, Badge, Choice, Command, Loading, Pages, Problem, Scroll, Section, Teach, type Tone } from "./ui";
import type { MigrationVerdict } from "./wire";

const shown = 20;
const tones: Record<MigrationVerdict["verdict"], Tone> = { done: "accent", ready: "good", "not yet": "warn", unknown: "plain" };

export function MigrationPage() {
  const filter = param("filter") || "v1AndV2";
  const page = Math.max(1, parseInt(param("page"), 10) || 1);
  const found = useCall("SearchInstances", { metadataFilter: filter, page, pageSize: shown }, { on: ["instance"], every: 60_000 });
  const names = found.data?.instances.map((i) => i.name) ?? [];
  const judged = useCall("GetMigrationVerdicts", names.length > 0 ? { instanceNames: names } : null, { on: ["instance", "attachment"], every: 60_000 });
  const plans = usePlans();
  const error = found.error ?? judged.error;
  const pages = Math.max(found.data?.pages ?? 1, 1);
  // Whoever requires tokens of all on the last page has no such page any more.
  useEffect(() => {
    if (found.data && page > pages) go(withParams({ page: pages === 1 ? "" : pages }), true);
  }, [found.data, page, pages]);
  return (
    <main id="content" class="page">
      <div class="head">
        <h1 tabIndex={-1}>{t.migration.title}</h1>
      </div>
      <Plan plans={plans} />
      <Section
        title={t.migration.heading}
        aside={<Choice label={t.instances.filter} value={filter} among={t.migration.filters} onChange={(v) => go(withParams({ filter: v === "v1AndV2" ? "" : v, page: "" }), true)} />}
      >
        {error && <Problem error={error} again={found.error ? found.again : judged.again} />}
        {!found.data && !found.error && <Loading />}
        {found.data && found.data.total === 0 && <Teach say={filter === "v1AndV2" ? t.migration.nobody : t.instances.none} />}
        {found.data && found.data.total > 0 && (
          <>
            <p class="pad dim">{t.migration.say}</p>
            {judged.data && names.length > 0 ? <Verdicts verdicts={judged.data.verdicts} /> : !judged.error && <Loading />}
            <Pages label={t.migration.heading} page={page} pages={pages} total={found.data.total} to={(n) => go(withParams({ page: n === 1 ? "" : n }))} />
          </>
        )}
      </Section>
      {plans.data && plans.data.migrations.length > 0 && <History all={plans.data.migrations} />}
      <div class="columns">
        <Waves />
        <Report />
      </div>
    </main>
  );
}

/** known is a count, unless it is a zero of which nobody can tell whether it is one. */
const known = (v: MigrationVerdict, n: number | null) => (n === 0 && v.verdict === "unknown" ? null : n);

function Verdicts({ verdicts }: { verdicts: MigrationVerdict[] }) {
  const cols = t.migration.columns;
  return (
    <Scroll label={t.migration.heading}>
      <table class="verdicts stacked">
        <thead>
          <tr>
            <th scope="col">{cols.name}</th>
            <th scope="col">{cols.verdict}</th>
            <th scope="col">{cols.why}</th>
            <th scope="col" class="number">
              {cols.v1}
            </th>
            <th scope="col" class="number">
              {cols.refused}
            </th>
            <th scope="col">{cols.rehearsal}</th>
          </tr>
        </thead>
        <tbody>
          {verdicts.map((v) => (
            <tr key={v.instanceName}>
              <td>
                <InstanceLink name={v.instanceName} tab={v.verdict === "not yet" ? "callers" : "options"} />
              </td>
              <td>
                <Badge tone={tones[v.verdict]}>{t.migration.verdicts[v.verdict]}</Badge>
              </td>
              <td class="why">{v.reason}</td>
              <td class={"number" + (v.noToken ? " v1" : "")} data-label={cols.v1}>
                <Amount of={known(v, v.noToken)} />
              </td>
              <td class="number" data-label={cols.refused}>
                <Amount of={known(v, v.rejected)} />
              </td>
              <td data-label={cols.rehearsal}>
                {v.rehearsal ? (
                  <>
                    {t.migration.rehearsals[v.rehearsal.mode] ?? v.rehearsal.mode}{" "}
                    <span class="dim">
                      {t.migration.until} <Time at={v.rehearsal.until} />
                    </span>
                  </>
                ) : (
                  <span class="dim">{t.none}</span>
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

/** Waves teaches what takes a plan, which is a file of the operator's. */
function Waves() {
  return (
    <Section title={t.migration.waves}>
      <div class="teach">
        <p>{t.migration.wavesSay}</p>
        {t.migration.commands.map((c) => (
          <Command key={c} text={c} />
        ))}
      </div>
    </Section>
  );
}
