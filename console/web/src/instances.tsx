// The instances of the fleet: searched, sorted and paged by the server.
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { useCall } from "./live";
import { Mode } from "./options";
import { go, InstanceLink, param, withParams } from "./route";
import { t } from "./text";
import { Amount, Badge, Button, Choice, Loading, Pages, Problem, Scroll, Teach } from "./ui";
import type { FoundInstance } from "./wire";

const pageSize = 50;

const sortable = ["name", "state", "tokens", "noToken"] as const;

export function Instances({ since }: { since: number }) {
  const query = param("q");
  const filter = param("filter") || "all";
  const sortBy = param("sort") || "name";
  const descending = param("desc") === "1";
  const page = Math.max(1, Math.floor(Number(param("page"))) || 1);
  const input = { query, metadataFilter: filter, sortBy, descending, since, pageSize, page };
  const { data, error, busy, again } = useCall("SearchInstances", input, { on: ["instance", "attachment", "usage"], every: 30_000 });
  const narrowed = query !== "" || filter !== "all";

  return (
    <section class="section" id="instances" aria-labelledby="instances-heading" aria-busy={busy && !data}>
      <header>
        <h2 id="instances-heading">{t.instances.heading}</h2>
        <div class="tools">
          <Search value={query} />
          <Choice label={t.instances.filter} value={filter} among={t.instances.filters} onChange={(f) => go(withParams({ filter: f === "all" ? "" : f, page: "" }), true)} />
        </div>
      </header>
      {error && <Problem error={error} again={again} />}
      {!data && !error && <Loading />}
      {data && data.instances.length > 0 && <Table found={data.instances} sortBy={sortBy} descending={descending} />}
      {data && data.total === 0 && narrowed && (
        <div class="teach">
          <p>{t.instances.none}</p>
          <Button onClick={() => go(withParams({ q: "", filter: "", page: "" }), true)}>{t.instances.clear}</Button>
        </div>
      )}
      {data && data.total === 0 && !narrowed && <Teach say={t.instances.noneAtAll} command={t.instances.command} />}
      {data && data.total > 0 && <Pages label={t.instances.heading} page={page} pages={data.pages} total={data.total} to={(n) => go(withParams({ page: n <= 1 ? "" : n }))} />}
    </section>
  );
}

/** Search asks when somebody stops typing. */
function Search({ value }: { value: string }) {
  const typed = useSignal(value);
  const timer = useRef(0);
  // What was searched for last comes back by the address while somebody types on, and must not undo that.
  const sent = useRef(value);
  useEffect(() => {
    if (value !== sent.current) typed.value = sent.current = value;
  }, [value]);
  const set = (text: string, now: boolean) => {
    typed.value = text;
    clearTimeout(timer.current);
    timer.current = window.setTimeout(
      () => {
        sent.current = text.trim();
        go(withParams({ q: sent.current, page: "" }), true);
      },
      now ? 0 : 250,
    );
  };
  return (
    <form
      role="search"
      onSubmit={(e) => {
        e.preventDefault();
        set(typed.value, true);
      }}
    >
      <input type="search" aria-label={t.instances.search} placeholder={t.instances.searchHint} value={typed.value} onInput={(e) => set(e.currentTarget.value, false)} spellcheck={false} />
    </form>
  );
}

function Head({ by, sortBy, descending, children, number }: { by: string; sortBy: string; descending: boolean; children: string; number?: boolean }) {
  const mine = by === sortBy;
  // What is large is looked for first; names are read from A.
  const first = by === "noToken" ? "1" : "";
  return (
    <th scope="col" class={number ? "number" : ""} aria-sort={mine ? (descending ? "descending" : "ascending") : "none"}>
      <button type="button" onClick={() => go(withParams({ sort: by === "name" ? "" : by, desc: mine ? (descending ? "" : "1") : first, page: "" }), true)}>
        {children}
        <span class="arrow" aria-hidden="true">
          {mine ? (descending ? "▾" : "▴") : ""}
        </span>
      </button>
    </th>
  );
}

function Table({ found, sortBy, descending }: { found: FoundInstance[]; sortBy: string; descending: boolean }) {
  const cols = t.instances.columns;
  const sort = { sortBy, descending };
  return (
    <Scroll label={t.instances.heading}>
      <table class="instances">
        <thead>
          <tr>
            <Head by={sortable[0]} {...sort}>{cols.name}</Head>
            <Head by={sortable[1]} {...sort}>{cols.state}</Head>
            <Head by={sortable[2]} {...sort}>{cols.tokens}</Head>
            <Head by={sortable[3]} {...sort} number>{cols.noToken}</Head>
            <th scope="col">{cols.attached}</th>
            <th scope="col">{cols.ip}</th>
            <th scope="col">{cols.zone}</th>
          </tr>
        </thead>
        <tbody>
          {found.map((i) => (
            <tr key={i.name}>
              <td>
                <InstanceLink name={i.name} />
                {i.tags?.slice(0, 3).map((tag) => (
                  <span key={tag.key} class="tag" title={tag.key + (tag.value ? "=" + tag.value : "")}>
                    {tag.key}
                    {tag.value && "=" + tag.value}
                  </span>
                ))}
              </td>
              <td class={"state " + i.state}>{i.state}</td>
              <td>
                <Mode options={i.metadataOptions} /> {i.metadataOptions.state === "pending" && <Badge tone="warn">{t.options.pending}</Badge>}
              </td>
              <td class={"number" + (i.noToken ? " v1" : "")} title={i.noToken !== null && i.unknownSeconds ? t.instances.atLeast : undefined}>
                <Amount of={i.noToken} />
                {i.noToken !== null && i.unknownSeconds ? "+" : ""}
              </td>
              <td class="dim">{i.attached ? t.instances.attached : t.instances.notAttached}</td>
              <td class="mono">{i.privateIp || <span class="dim">{t.none}</span>}</td>
              <td class="dim">{i.zone}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}
