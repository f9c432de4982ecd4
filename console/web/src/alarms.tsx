// Alarms, and the state that each is in.
import { useCall } from "./live";
import { InstanceLink } from "./route";
import { t } from "./text";
import { Badge, Loading, Problem, Scroll, Teach } from "./ui";
import type { Alarm } from "./wire";

const tone = { OK: "good", ALARM: "bad", INSUFFICIENT_DATA: "plain" } as const;
const order = { ALARM: 0, INSUFFICIENT_DATA: 1, OK: 2 };

export const ruleOf = (a: Alarm) =>
  t.alarms.rule(a.metricName, t.alarms.comparison[a.comparisonOperator] ?? a.comparisonOperator, a.threshold, a.datapointsToAlarm, a.evaluationPeriods, a.period / 60);

export function AlarmTable({ alarms, brief }: { alarms: Alarm[]; brief?: boolean }) {
  const cols = t.alarms.columns;
  const sorted = [...alarms].sort((a, b) => order[a.state] - order[b.state] || a.name.localeCompare(b.name));
  return (
    <Scroll label={t.alarms.heading}>
      <table>
        <thead>
          <tr>
            <th scope="col">{cols.state}</th>
            <th scope="col">{cols.name}</th>
            <th scope="col">{cols.instance}</th>
            {!brief && <th scope="col">{cols.rule}</th>}
          </tr>
        </thead>
        <tbody>
          {sorted.map((a) => (
            <tr key={a.name}>
              <td>
                <Badge tone={tone[a.state]}>{t.alarms.states[a.state]}</Badge>
              </td>
              <td>
                {a.name}
                {brief && <span class="dim under">{ruleOf(a)}</span>}
              </td>
              <td>
                <InstanceLink name={a.monitoredResourceInfo.name} tab="metrics" />
              </td>
              {!brief && <td class="dim">{ruleOf(a)}</td>}
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

export function Alarms({ brief }: { brief?: boolean }) {
  const { data, error, again } = useCall("GetAlarms", {}, { on: ["alarm"], all: "alarms" });
  if (error && !data) return <Problem error={error} again={again} />;
  if (!data) return <Loading />;
  if (data.alarms.length === 0) return <Teach say={t.fleet.alarmsNone} command={t.fleet.alarmCommand} />;
  return <AlarmTable alarms={data.alarms} brief={brief} />;
}

export function AlarmsPage() {
  return (
    <main id="content" class="page">
      <div class="head">
        <h1 tabIndex={-1}>{t.alarms.heading}</h1>
      </div>
      <section class="section" aria-label={t.alarms.heading}>
        <Alarms />
      </section>
    </main>
  );
}
