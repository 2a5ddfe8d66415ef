package main

import (
	"fmt"
	"strings"

	"pipectl.dev/cmd/pipectl/schema"
	"pipectl.dev/steps"
)

// stepDoc is the reference page of a step, in Markdown; `pipectl steps STEP` prints it.
func stepDoc(d steps.Definition) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s\n\n", d.Name, sentence(d.Summary))
	if d.Doc != "" {
		fmt.Fprintf(&b, "%s\n\n", strings.TrimSpace(d.Doc))
	}
	if d.Example != "" {
		fmt.Fprintf(&b, "## Example\n\n```yaml\n- name: example\n  step: %s\n  with:\n%s\n```\n\n", d.Name, indent(strings.TrimSpace(d.Example), "    "))
	}
	b.WriteString("## Fields of `with`\n\n")
	table(&b, schema.Rows(schema.Step(d)), true)
	b.WriteString("\n## Outputs\n\n")
	table(&b, schema.Rows(schema.Outputs(d)), false)
	b.WriteString("\n## How it behaves\n\n")
	fmt.Fprintf(&b, "- Needs an AWS account: %s.\n", yesNo(d.AWS))
	fmt.Fprintf(&b, "- Checks before anything is written: %s.\n", yesNo(d.Preflights))
	fmt.Fprintf(&b, "- On `down`: %s.\n", onDown(d))
	return b.String()
}

func table(b *strings.Builder, rows []schema.Row, inputs bool) {
	if len(rows) == 0 {
		b.WriteString("None.\n")
		return
	}
	if inputs {
		b.WriteString("| field | type | default | meaning |\n|---|---|---|---|\n")
	} else {
		b.WriteString("| field | type | meaning |\n|---|---|---|\n")
	}
	for _, r := range rows {
		name := "`" + r.Path + "`"
		if !inputs {
			fmt.Fprintf(b, "| %s | %s | %s |\n", name, cell(r.Type), cell(r.Doc))
			continue
		}
		def := cell(r.Default)
		if r.Required {
			def = "**required**"
		} else if def != "" {
			def = "`" + def + "`"
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", name, cell(r.Type), def, cell(r.Doc))
	}
}

func cell(s string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "|", `\|`)
}

func indent(s, by string) string { return by + strings.ReplaceAll(s, "\n", "\n"+by) }

func sentence(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + strings.TrimSuffix(s[1:], ".") + "."
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func onDown(d steps.Definition) string {
	switch {
	case d.Releases && d.Deletes:
		return "stops and lets go first, then removes what it made"
	case d.Releases:
		return "stops and lets go; leaves what it made"
	case d.Deletes:
		return "removes what it made"
	default:
		return "nothing to do"
	}
}
