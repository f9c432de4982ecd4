// The parts that pages are made of.
import { signal, useSignal } from "@preact/signals";
import type { ComponentChildren, ComponentType } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import { Refused, session, worded } from "./api";
import { t } from "./text";

/** said is read out by screen readers, and shown for a moment. */
export const said = signal<{ text: string; bad: boolean } | null>(null);
let saidTimer = 0;
export function say(text: string, bad = false) {
  clearTimeout(saidTimer);
  said.value = { text, bad };
  saidTimer = window.setTimeout(() => (said.value = null), bad ? 12_000 : 4000);
}

export function Said() {
  return (
    <div class="said" role="status" aria-live="polite">
      {said.value && <p class={said.value.bad ? "bad" : ""}>{said.value.text}</p>}
    </div>
  );
}

/** attempt carries a change out and says what became of it; without done only where it fails. */
export async function attempt(change: () => Promise<unknown>, done?: string): Promise<boolean> {
  try {
    await change();
    if (done) say(done);
    return true;
  } catch (e) {
    say(worded(e), true);
    return false;
  }
}

export const mayChange = () => session.value?.readOnly === false;

export function Button(props: {
  children: ComponentChildren;
  onClick?: () => void;
  kind?: "primary" | "danger" | "quiet";
  type?: "button" | "submit";
  disabled?: boolean;
  label?: string;
  changes?: boolean;
}) {
  const forbidden = props.changes && !mayChange();
  return (
    <button
      type={props.type ?? "button"}
      class={"button " + (props.kind ?? "")}
      disabled={props.disabled || forbidden}
      title={forbidden ? t.nav.readOnlyWhy : undefined}
      aria-label={props.label}
      onClick={props.onClick}
    >
      {props.children}
    </button>
  );
}

export function Switch(props: { on: boolean; label: string; describedBy?: string; disabled?: boolean; onChange: (on: boolean) => void }) {
  const forbidden = !mayChange();
  return (
    <button
      type="button"
      role="switch"
      class="switch"
      aria-checked={props.on}
      aria-label={props.label}
      aria-describedby={props.describedBy}
      disabled={props.disabled || forbidden}
      title={forbidden ? t.nav.readOnlyWhy : undefined}
      onClick={() => props.onChange(!props.on)}
    >
      <span class="knob" />
    </button>
  );
}

export type Tone = "good" | "warn" | "bad" | "plain" | "accent";
export const Badge = ({ tone, children }: { tone: Tone; children: ComponentChildren }) => <span class={"badge " + tone}>{children}</span>;

export function Problem({ error, again }: { error: Refused; again?: () => void }) {
  return (
    <div class="notice bad" role="alert">
      <p>
        <strong>{t.error.heading}.</strong> {error.message}
      </p>
      {again && <Button onClick={again}>{t.error.retry}</Button>}
    </div>
  );
}

export const Note = ({ children }: { children: ComponentChildren }) => <p class="notice quiet">{children}</p>;

/** Teach is a place where nothing is yet, and the command that changes that. */
export function Teach({ say: what, teach, command }: { say: string; teach?: string; command?: string }) {
  return (
    <div class="teach">
      <p>{what}</p>
      {teach && <p class="dim">{teach}</p>}
      {command && <Command text={command} />}
    </div>
  );
}

export function Command({ text }: { text: string }) {
  const copied = useSignal(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      copied.value = true;
      setTimeout(() => (copied.value = false), 2000);
    } catch {
      say(text);
    }
  };
  return (
    <div class="command">
      <code>
        {text.split(" ").map((word, i) => (
          <>
            {i > 0 && " "}
            <span class="word">{word}</span>
          </>
        ))}
      </code>
      <button type="button" class="button quiet" onClick={copy} aria-label={t.copy.copy + ": " + text}>
        {copied.value ? t.copy.copied : t.copy.copy}
      </button>
    </div>
  );
}

/** Dialog is modal: the browser keeps the focus in it, and Escape closes it. */
export function Dialog(props: { title: string; onClose: () => void; children: ComponentChildren; actions: ComponentChildren }) {
  const ref = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    ref.current?.showModal();
    return () => before?.isConnected && before.focus();
  }, []);
  // Escape closes it at once: the browser's own word comes a moment later, and would close what was opened meanwhile.
  const escape = (e: Event) => {
    e.preventDefault();
    props.onClose();
  };
  return (
    <dialog ref={ref} aria-labelledby={id} onCancel={escape} onClose={props.onClose} onClick={(e) => e.target === ref.current && props.onClose()}>
      <div class="inside">
        <h2 id={id}>{props.title}</h2>
        {props.children}
        <div class="actions">
          <Button onClick={props.onClose}>{t.dialog.cancel}</Button>
          {props.actions}
        </div>
      </div>
    </dialog>
  );
}

export function Section(props: { title: string; aside?: ComponentChildren; children: ComponentChildren; class?: string }) {
  const id = useId();
  return (
    <section class={"section " + (props.class ?? "")} aria-labelledby={id}>
      <header>
        <h2 id={id}>{props.title}</h2>
        {props.aside}
      </header>
      {props.children}
    </section>
  );
}

/** Choice is one of a few values, as buttons beside each other. */
export function Choice(props: { label: string; value: string; among: Record<string, string>; long?: Record<string, string>; onChange: (value: string) => void }) {
  return (
    <div class="choice" role="group" aria-label={props.label}>
      {Object.entries(props.among).map(([value, text]) => (
        <button
          key={value}
          type="button"
          aria-pressed={value === props.value}
          title={props.long?.[value]}
          onClick={() => value !== props.value && props.onChange(value)}
        >
          {text}
        </button>
      ))}
    </div>
  );
}

export function Field(props: { label: string; children: ComponentChildren }) {
  return (
    <label class="field">
      <span>{props.label}</span>
      {props.children}
    </label>
  );
}

/** Scroll holds a table that may be wider than the screen; keyboards can move it. */
export function Scroll({ label, children }: { label: string; children: ComponentChildren }) {
  return (
    <div class="scroll" role="group" aria-label={label} tabIndex={0}>
      {children}
    </div>
  );
}

/** Pages are of a long list: which one this is, and the way to the others. */
export function Pages(props: { label: string; page: number; pages: number; total: number; to: (page: number) => void }) {
  const { page, pages, to } = props;
  return (
    <nav class="pages" aria-label={props.label}>
      <span class="dim" role="status">
        {t.instances.page(page, pages, props.total)}
      </span>
      {pages > 1 && (
        <>
          <Button disabled={page <= 1} onClick={() => to(page - 1)}>
            {t.instances.previous}
          </Button>
          <Button disabled={page >= pages} onClick={() => to(page + 1)}>
            {t.instances.next}
          </Button>
        </>
      )}
    </nav>
  );
}

/** Amount is a number, or unknown. */
export function Amount({ of }: { of: number | null | undefined }) {
  if (of === null || of === undefined) return <span class="unknown">{t.unknown}</span>;
  return <>{of.toLocaleString("en")}</>;
}

/** later is a part whose file is fetched when it is first shown. */
export function later<P extends object>(load: () => Promise<ComponentType<P>>): ComponentType<P> {
  const loaded = signal<ComponentType<P> | null>(null);
  const failed = signal<Refused | null>(null);
  const fetchIt = () => {
    failed.value = null;
    load().then(
      (part) => (loaded.value = part),
      () => (failed.value = new Refused("Unloaded", t.error.unloaded, 0)),
    );
  };
  return function Later(props: P) {
    useEffect(() => {
      if (!loaded.value) fetchIt();
    }, []);
    const Part = loaded.value;
    if (Part) return <Part {...props} />;
    return <main id="content" class="page">{failed.value ? <Problem error={failed.value} again={fetchIt} /> : <Loading />}</main>;
  };
}

export const Loading = () => <p class="loading">{t.loading}</p>;
