// How the page asks the server: the session, and every operation through one function.
import { signal } from "@preact/signals";
import { t } from "./text";
import type { Input, Op, Output, Session } from "./wire";

/** Refused is an answer that is none, in words for people. */
export class Refused extends Error {
  constructor(
    readonly type: string,
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

/** session is undefined until the server has told, null when nobody is signed in. */
export const session = signal<Session | null | undefined>(undefined);
/** region is the one that is looked at. */
export const region = signal("");
/** ended says that a session ended under the page, and not by signing out. */
export const ended = signal(false);

const jsonHead = { "Content-Type": "application/json" };

async function ask(path: string, init: RequestInit): Promise<unknown> {
  let response: Response;
  try {
    response = await fetch("/console/" + path, { credentials: "same-origin", cache: "no-store", ...init });
  } catch {
    throw new Refused("Unreachable", t.error.unreachable, 0);
  }
  const text = await response.text();
  let body: { __type?: string; message?: string; Message?: string } = {};
  try {
    body = text === "" ? {} : JSON.parse(text);
  } catch {
    if (response.ok) throw new Refused("BadAnswer", t.error.badAnswer, response.status);
  }
  if (response.ok) return body;
  const said = body.message ?? body.Message ?? t.error.status(response.status);
  throw new Refused(body.__type ?? "Status" + response.status, said, response.status);
}

function take(found: Session) {
  session.value = found;
  ended.value = false;
  if (!found.regions.includes(region.value)) region.value = found.region;
}

/** whoAmI asks once, when the page begins. */
export async function whoAmI() {
  try {
    take((await ask("session", {})) as Session);
  } catch (e) {
    if (e instanceof Refused && e.status === 401) session.value = null;
    else throw e;
  }
}

export async function signIn(by: { accessKeyId: string; secretAccessKey: string } | { link: string }) {
  take((await ask("session", { method: "POST", headers: jsonHead, body: JSON.stringify(by) })) as Session);
}

export async function signOut() {
  await ask("session", { method: "DELETE", headers: jsonHead });
  session.value = null;
}

/** call has the server carry out one operation of the control API. */
export async function call<O extends Op>(op: O, input: Input<O>): Promise<Output<O>> {
  const headers: Record<string, string> = { ...jsonHead };
  if (region.value !== "") headers["X-Openimds-Region"] = region.value;
  try {
    return (await ask("api/" + op, { method: "POST", headers, body: JSON.stringify(input) })) as Output<O>;
  } catch (e) {
    if (e instanceof Refused && e.status === 401 && session.value) {
      ended.value = true;
      session.value = null;
    }
    throw e;
  }
}

/** worded is what an error says to people. */
export const worded = (e: unknown): string => (e instanceof Error ? e.message : String(e));
