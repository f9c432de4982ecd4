// The tags of an instance, and whether its guest reads them.
import { call } from "./api";
import { useCall } from "./live";
import { t } from "./text";
import { attempt, Button, Field, Scroll, Section, Switch } from "./ui";
import type { Instance } from "./wire";

export function TagsPart({ instance, again }: { instance: Instance; again: () => void }) {
  const name = instance.name;
  const whole = useCall("DescribeInstance", { instanceName: name }, { on: ["instance"], name });
  const add = async (e: SubmitEvent) => {
    e.preventDefault();
    const form = e.currentTarget as HTMLFormElement;
    const fields = new FormData(form);
    const tag = { key: String(fields.get("key")), value: String(fields.get("value")) };
    if (await attempt(() => call("TagResource", { resourceName: name, tags: [tag.value === "" ? { key: tag.key } : tag] }), t.tags.changed)) {
      form.reset();
      form.querySelector("input")?.focus();
      again();
    }
  };
  const remove = async (key: string) => {
    await attempt(() => call("UntagResource", { resourceName: name, tagKeys: [key] }), t.tags.changed);
    again();
  };
  const setShown = async (tagsInMetadata: boolean) => {
    await attempt(() => call("SetInstance", { instanceName: name, tagsInMetadata }), t.options.changed(t.tags.inMetadata));
    whole.again();
  };
  return (
    <Section title={t.tags.heading}>
      {instance.tags.length === 0 ? (
        <p class="dim pad">
          {t.tags.none} {t.tags.teach}
        </p>
      ) : (
        <Scroll label={t.tags.heading}>
          <table class="tags">
            <thead>
              <tr>
                <th scope="col">{t.tags.key}</th>
                <th scope="col">{t.tags.value}</th>
                <td />
              </tr>
            </thead>
            <tbody>
              {instance.tags.map((tag) => (
                <tr key={tag.key}>
                  <td>{tag.key}</td>
                  <td>{tag.value}</td>
                  <td class="number">
                    <Button kind="quiet" changes label={t.tags.remove(tag.key)} onClick={() => remove(tag.key)}>
                      ✕
                    </Button>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
      <form class="inline pad" onSubmit={add}>
        <Field label={t.tags.key}>
          <input name="key" required maxLength={128} />
        </Field>
        <Field label={t.tags.value}>
          <input name="value" maxLength={256} />
        </Field>
        <Button type="submit" changes>
          {t.tags.add}
        </Button>
      </form>
      <ul class="settings">
        <li>
          <div>
            <strong>{t.tags.inMetadata}</strong>
            <p class="dim" id="tags-in-metadata">
              {t.tags.inMetadataSay}
            </p>
          </div>
          <div class="control">
            <Switch on={whole.data?.instance.tagsInMetadata ?? false} disabled={!whole.data} label={t.tags.inMetadata} describedBy="tags-in-metadata" onChange={setShown} />
          </div>
        </li>
      </ul>
    </Section>
  );
}
