package metadata_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/openimds/openimds/metadata"
)

//go:generate go test -run "TestCategoriesDoc|TestGoldenTrees" -update .

const categoriesHead = `# Categories

<!-- Made from the table in metadata/rows*.go by: go generate ./metadata -->

What a guest finds below ` + "`/latest/`" + ` and below each version that ` + "`GET /`" + ` lists. A path in braces stands for names that the
instance gives. A category that does not exist is answered with 404 and is in no listing; a directory without content
does not exist either.

*Since* is the version that introduced the category, as AWS's documentation has it; older versions do not show it. Some of
those versions are not among the ones that the service lists: the category is then visible from the next listed one on, which
stands in parentheses. AWS names no version for the rows marked with *; the one here is this project's choice, by the date at
which the feature came.

An instance's overlay lies over all of this, at every version: it adds, replaces and removes paths.

| Path | Since | Exists when | Meaning |
|---|---|---|---|
`

func TestCategoriesDoc(t *testing.T) {
	var b strings.Builder
	b.WriteString(categoriesHead)
	for _, c := range metadata.Categories() {
		since := c.Since
		if c.Undated {
			since += "*"
		}
		if c.VisibleSince != c.Since {
			since += " (" + c.VisibleSince + ")"
		}
		when := c.When
		if when == "" {
			when = "always"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", c.Path, since, when, c.Doc)
	}
	fmt.Fprintf(&b, "\nVersions: %s.\n", strings.Join(metadata.Versions(), ", "))
	compare(t, "../docs/CATEGORIES.md", b.String())
}
