// Signing in: by a key, once; a link is taken before any page is there.
import { signal, useSignal } from "@preact/signals";
import { ended, signIn, worded } from "./api";
import { t } from "./text";
import { Button, Command, Field } from "./ui";

/** spent says that the link that the page was opened with opened nothing. */
export const spent = signal(false);

export function SignIn() {
  const error = useSignal("");
  const busy = useSignal(false);
  // The server refuses a secret that others could read on the way; by then it would have been sent.
  const readable = !window.isSecureContext;
  const submit = async (e: SubmitEvent) => {
    e.preventDefault();
    const form = e.currentTarget as HTMLFormElement;
    const fields = new FormData(form);
    busy.value = true;
    error.value = "";
    try {
      await signIn({ accessKeyId: String(fields.get("id")).trim(), secretAccessKey: String(fields.get("secret")).trim() });
      spent.value = false;
    } catch (e) {
      error.value = worded(e);
      form.querySelector<HTMLInputElement>("[name=secret]")?.select();
    }
    busy.value = false;
  };
  return (
    <main id="content" class="signin">
      <div class="card">
        <p class="mark">
          <span class="glyph" aria-hidden="true" />
          {t.name}
        </p>
        <h1>{t.signIn.heading}</h1>
        {(ended.value || spent.value) && (
          <p class="notice" role="status">
            {spent.value ? t.signIn.linkSpent : t.signIn.over}
          </p>
        )}
        {readable ? (
          <p class="notice bad" role="alert">
            {t.signIn.readable}
          </p>
        ) : (
          <form onSubmit={submit}>
          <Field label={t.signIn.keyId}>
            <input name="id" required autoComplete="username" spellcheck={false} autoCapitalize="none" autoFocus />
          </Field>
          <Field label={t.signIn.secret}>
            <input name="secret" type="password" required autoComplete="current-password" />
          </Field>
          {error.value && (
            <p class="notice bad" role="alert">
              {error.value}
            </p>
          )}
          <Button type="submit" kind="primary" disabled={busy.value}>
            {busy.value ? t.signIn.busy : t.signIn.submit}
          </Button>
        </form>
        )}
        <div class="hint">
          <p>{readable ? t.signIn.hintLink : t.signIn.hint}</p>
          <Command text={readable ? t.signIn.commandLink : t.signIn.command} />
          {!readable && <p class="dim">{t.signIn.where}</p>}
        </div>
      </div>
    </main>
  );
}
