// What keeps the page true: the server's events, and answers that are asked for again when they change.
import { signal, useSignal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import { call, region, session, Refused } from "./api";
import type { Input, Op, Output } from "./wire";

/** connection is how the page learns of changes; away: the server does not answer. */
export const connection = signal<"connecting" | "live" | "polling" | "away">("connecting");

export interface Change {
  kind: string;
  name: string;
}

type Listener = (change: Change | null) => void;
const listeners = new Set<Listener>();
/** tell says to all what has changed; null: anything may have. */
const tell = (change: Change | null) => listeners.forEach((l) => l(change));

const pollEvery = 5000;
const retryFirst = 500;
const retryMost = 5000;
// The server pings each 15 seconds.
const pingsMissed = 40_000;

/** follow keeps a stream of events open until what it returns is called. */
export function follow(inRegion: string): () => void {
  let source: EventSource | undefined;
  let timer = 0;
  let wait = retryFirst;
  let over = false;
  let lost = false;

  // A network that drops everything says nothing: the server's pings tell that it is still there.
  let heard = 0;
  const silence = window.setInterval(() => {
    if (source && source.readyState === EventSource.OPEN && Date.now() - heard > pingsMissed) source.dispatchEvent(new Event("error"));
  }, 5000);
  const hear = () => (heard = Date.now());
  // Browsers have few connections to one server, and each stream takes one: a page that nobody sees gives its back.
  const seen = () => {
    if (document.visibilityState === "hidden") {
      source?.close();
      source = undefined;
      lost = true;
      clearTimeout(timer);
    } else if (source === undefined) open();
  };
  document.addEventListener("visibilitychange", seen);

  const open = () => {
    hear();
    source = new EventSource("/console/events?region=" + encodeURIComponent(inRegion));
    source.onopen = () => {
      hear();
      wait = retryFirst;
      connection.value = "live";
      // What happened while the stream was cut may be more than the server still remembers.
      if (lost) tell(null);
      lost = false;
    };
    source.addEventListener("change", (e) => {
      hear();
      tell(JSON.parse((e as MessageEvent<string>).data) as Change);
    });
    source.addEventListener("ping", hear);
    source.addEventListener("relist", () => tell(null));
    source.onerror = () => {
      lost = true;
      source?.close();
      void look();
    };
  };

  // look finds out whether it is the stream or the server that is not there.
  const look = async () => {
    if (over) return;
    try {
      const answer = await fetch("/console/session", { cache: "no-store" });
      if (over) return;
      if (answer.status === 401) {
        // Any call finds out the same, and ends the session on the page.
        tell(null);
        return;
      }
      connection.value = "polling";
      tell(null);
    } catch {
      connection.value = "away";
    }
    if (over || document.visibilityState === "hidden") return;
    wait = Math.min(wait * 2, retryMost);
    timer = window.setTimeout(open, connection.value === "polling" ? Math.max(wait, pollEvery / 2) : wait);
  };

  if (document.visibilityState !== "hidden") open();
  return () => {
    over = true;
    source?.close();
    clearTimeout(timer);
    clearInterval(silence);
    document.removeEventListener("visibilitychange", seen);
  };
}

export interface Answer<T> {
  data?: T;
  error?: Refused;
  /** busy is true while it is asked for. */
  busy: boolean;
  again: () => void;
}

interface How {
  /** on are the kinds of changes after which to ask again, and the name that it is about, if any. */
  on?: string[];
  name?: string;
  /** every: milliseconds after which to ask again anyway, while somebody looks. */
  every?: number;
  /** all names a member of which every page is read, and the pages brought together. */
  all?: string;
}

// More pages than this nobody reads; what the last one says of further ones stays in the answer.
const pagesMost = 50;

/** wholeList asks for page after page and answers as if they were one. */
async function wholeList<O extends Op>(op: O, input: Input<O>, member: string): Promise<Output<O>> {
  type Page = Record<string, unknown[]> & { nextPageToken?: string };
  const first = (await call(op, input)) as unknown as Page;
  for (let n = 1; first.nextPageToken && n < pagesMost; n++) {
    const next = (await call(op, { ...input, pageToken: first.nextPageToken })) as unknown as Page;
    first[member].push(...next[member]);
    if (Array.isArray(first.known)) first.known.push(...(next.known ?? []));
    first.nextPageToken = next.nextPageToken;
  }
  return first as unknown as Output<O>;
}

/** useCall asks for an operation's answer and keeps it up to date; input null: not yet. */
export function useCall<O extends Op>(op: O, input: Input<O> | null, how: How = {}): Answer<Output<O>> {
  const state = useSignal<{ key: string; data?: Output<O>; error?: Refused; busy: boolean }>({ key: "", busy: input !== null });
  const key = input === null ? "" : region.value + op + JSON.stringify(input);
  const again = useRef<() => void>(() => {});
  const now = useRef(how); // how may change while the question stays
  now.current = how;

  // Before the browser paints: it has the paint to do while the server works.
  useLayoutEffect(() => {
    if (input === null) return;
    let over = false;
    let running = false;
    let dirty = false;
    let last = 0;
    let timer = 0;
    const run = async () => {
      timer = 0;
      running = true;
      dirty = false;
      last = Date.now();
      state.value = { ...state.peek(), busy: true };
      try {
        const data = await (how.all ? wholeList(op, input, how.all) : call(op, input));
        if (!over) state.value = { key, data, busy: false };
      } catch (e) {
        // What was there stays on the page: it is what is known last.
        const error = e instanceof Refused ? e : new Refused("Unknown", String(e), 0);
        if (!over) state.value = { key, data: state.peek().key === key ? state.peek().data : undefined, error, busy: false };
      }
      running = false;
      if (dirty && !over) soon();
    };
    // soon brings many changes together into one question.
    const soon = () => {
      if (running) dirty = true;
      else if (timer === 0) timer = window.setTimeout(run, Math.max(0, 400 - (Date.now() - last)));
    };
    again.current = soon;
    const listener: Listener = (c) => {
      if (c === null || (now.current.on?.includes(c.kind) && (!now.current.name || !c.name || c.name === now.current.name))) soon();
    };
    listeners.add(listener);
    const ticker = how.every
      ? window.setInterval(() => {
          if (now.current.every && document.visibilityState === "visible" && session.peek()) soon();
        }, how.every)
      : 0;
    void run();
    return () => {
      over = true;
      listeners.delete(listener);
      clearTimeout(timer);
      clearInterval(ticker);
    };
  }, [key]);

  const { data, error, busy } = state.value;
  return { data, error, busy, again: () => again.current() };
}
