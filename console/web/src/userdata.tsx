// The user data of an instance, hidden until asked for.
import { useSignal } from "@preact/signals";
import { call } from "./api";
import { useCall } from "./live";
import { t } from "./text";
import { attempt, Button, Field, Loading, Problem, Section, Teach } from "./ui";

const bytesOf = (base64: string) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));

/** textOf is the text that bytes are; undefined: they are none. */
function textOf(base64: string): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytesOf(base64));
  } catch {
    return undefined;
  }
}

const base64Of = (text: string) => btoa(Array.from(new TextEncoder().encode(text), (b) => String.fromCharCode(b)).join(""));

export function UserDataPart({ name }: { name: string }) {
  const shown = useSignal(false);
  const editing = useSignal(false);
  const { data, error, again } = useCall("DescribeInstance", { instanceName: name, includeUserData: shown.value }, { on: ["instance"], name });
  const size = data?.instance.userDataSize ?? 0;
  const text = textOf(data?.instance.userData ?? "");
  const edit = () => {
    shown.value = true;
    editing.value = true;
  };
  const save = async (e: SubmitEvent) => {
    e.preventDefault();
    const typed = String(new FormData(e.currentTarget as HTMLFormElement).get("userdata"));
    // A form turns line ends into those of the network; scripts want their own.
    const userData = base64Of(typed.replace(/\r\n/g, "\n"));
    if (await attempt(() => call("SetInstance", { instanceName: name, userData }), t.userdata.saved)) {
      editing.value = false;
      again();
    }
  };
  const loaded = data && (size === 0 || data.instance.userData !== undefined);
  return (
    <Section
      title={t.userdata.heading}
      aside={
        data && (
          <div class="tools">
            <span class="dim">{t.userdata.size(size)}</span>
            {size > 0 && !editing.value && <Button onClick={() => (shown.value = !shown.value)}>{shown.value ? t.userdata.hide : t.userdata.show}</Button>}
            {!editing.value && (
              <Button changes onClick={edit}>
                {t.userdata.edit}
              </Button>
            )}
          </div>
        )
      }
    >
      {error && <Problem error={error} again={again} />}
      {!data && !error && <Loading />}
      {editing.value && loaded && text === undefined && <p class="notice">{t.userdata.binary}</p>}
      {editing.value && loaded && text !== undefined && (
        <form onSubmit={save} class="pad">
          <Field label={t.userdata.label}>
            <textarea name="userdata" rows={16} spellcheck={false} defaultValue={text} />
          </Field>
          <p class="dim">{t.userdata.limit}</p>
          <div class="tools">
            <Button type="submit" kind="primary" changes>
              {t.userdata.save}
            </Button>
            <Button onClick={() => (editing.value = false)}>{t.userdata.cancel}</Button>
          </div>
        </form>
      )}
      {!editing.value && data && size === 0 && <Teach say={t.userdata.none} teach={t.userdata.teach} command={t.userdata.command(name)} />}
      {!editing.value && data && size > 0 && !shown.value && <p class="dim pad">{t.userdata.hiddenSay}</p>}
      {!editing.value && data && size > 0 && shown.value && loaded && (
        <pre class="text" tabIndex={0} aria-label={t.userdata.label}>
          {text ?? t.userdata.binary}
        </pre>
      )}
    </Section>
  );
}
