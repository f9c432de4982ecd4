// Where the page is: the address bar is the only place that knows.
import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";

export const place = signal(new URL(window.location.href));

window.addEventListener("popstate", () => (place.value = new URL(window.location.href)));

/** go moves to a path below /console/; replace leaves no entry to go back to. */
export function go(to: string, replace = false) {
  const url = new URL("/console/" + to, window.location.href);
  if (url.href === place.value.href) return;
  if (replace) history.replaceState(null, "", url);
  else history.pushState(null, "", url);
  const moved = url.pathname !== place.value.pathname;
  place.value = url;
  if (moved && !replace) {
    window.scrollTo(0, 0);
    // Screen readers and keyboards begin at the new page's heading, as after a load.
    requestAnimationFrame(() => document.querySelector<HTMLElement>("h1")?.focus({ preventScroll: true }));
  }
}

/** parts are the parts of the path below /console/. */
export function parts(): string[] {
  return place.value.pathname.replace(/^\/console\/?/, "").split("/").filter(Boolean).map(decoded);
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export const param = (name: string): string => place.value.searchParams.get(name) ?? "";

/** withParams is the present path with some parameters changed; an empty one is left out. */
export function withParams(change: Record<string, string | number>): string {
  const search = new URLSearchParams(place.value.searchParams);
  for (const [name, value] of Object.entries(change)) {
    if (value === "" || value === 0) search.delete(name);
    else search.set(name, String(value));
  }
  const query = search.toString();
  return place.value.pathname.replace(/^\/console\/?/, "") + (query && "?" + query);
}

export const instancePath = (name: string, tab = "options") => `instances/${encodeURIComponent(name)}/${tab}`;

/** Link is an anchor that loads nothing; with a modifier key it is one like others. */
export function Link({ to, children, ...rest }: { to: string; children: ComponentChildren; class?: string; title?: string; "aria-current"?: "page" | undefined }) {
  const onClick = (e: MouseEvent) => {
    if (e.defaultPrevented || e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return;
    e.preventDefault();
    go(to);
  };
  return (
    <a href={"/console/" + to} onClick={onClick} {...rest}>
      {children}
    </a>
  );
}

/** InstanceLink leads to an instance's page by its name, which is cut where it is longer than its place. */
export function InstanceLink({ name, tab }: { name: string; tab?: string }) {
  return (
    <Link class="named" to={instancePath(name, tab)} title={name}>
      {name}
    </Link>
  );
}
