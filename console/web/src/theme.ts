// Light or dark: as the system has it, unless somebody chose.
import { effect, signal } from "@preact/signals";

export type Theme = "system" | "light" | "dark";

const kept = "openimds.theme";

function read(): Theme {
  try {
    const value = localStorage.getItem(kept);
    return value === "light" || value === "dark" ? value : "system";
  } catch {
    return "system";
  }
}

export const theme = signal<Theme>(read());
const asked = ["(prefers-color-scheme: dark)", "(prefers-contrast: more)", "(forced-colors: active)"].map((query) => window.matchMedia(query));
const now = () => [theme.peek(), ...asked.map((q) => q.matches)].join("/");

/** scheme changes whenever colours do, for what draws them by itself. */
export const scheme = signal("");

effect(() => {
  const root = document.documentElement;
  if (theme.value === "system") delete root.dataset.theme;
  else root.dataset.theme = theme.value;
  try {
    if (theme.value === "system") localStorage.removeItem(kept);
    else localStorage.setItem(kept, theme.value);
  } catch {
    // Without storage the choice lasts as long as the page.
  }
  scheme.value = now();
});

for (const query of asked) query.addEventListener("change", () => (scheme.value = now()));
