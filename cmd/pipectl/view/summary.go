package view

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"pipectl.dev/engine"
	"pipectl.dev/steps"
)

// Summary writes how a run ended, for people.
func Summary(w io.Writer, r *engine.RunResult, st Style) {
	word, color := ending(r.Status)
	head := st.paint(color, word) + " in " + Span(seconds(r.DurationSeconds)) + st.dot() + tally(r.Changes, st.dot())
	d := planText{w: w, st: st}
	d.line("")
	d.wrap(" ", fmt.Sprintf("%s %s: %s", r.Verb, st.paint(bold, r.Pipeline), head))
	if r.SimulatedSeconds > r.DurationSeconds+1 {
		d.wrap("   "+fmt.Sprintf("%-12s ", "in real time"), st.paint(dim, Span(seconds(r.SimulatedSeconds))+", were the cloud not hurried"))
	}
	for _, name := range slices.Sorted(maps.Keys(r.Outputs)) {
		fmt.Fprintf(w, "   %-12s %s\n", name, plain(r.Outputs[name]))
	}
	d.costs(r.Cost, "  ", fmt.Sprintf("%-12s", "costs"), false)
	for _, warning := range r.Warnings {
		fmt.Fprintf(w, "   %s\n", st.paint(yellow, "warning: "+flat(warning)))
	}
}

func ending(s steps.Status) (word, color string) {
	switch s {
	case steps.Succeeded:
		return "done", green
	case steps.Destroyed:
		return "gone", green
	case steps.Skipped:
		return "nothing to do", green
	case steps.Canceled:
		return "stopped", yellow
	case steps.Blocked:
		return "waits", yellow
	default:
		return strings.ToLower(string(s)), red
	}
}

// plain writes a JSON value as a person would: strings without quotes.
func plain(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

// Next writes what exists after a run that did not succeed, what that costs, and the two ways on.
func Next(w io.Writer, r *engine.RunResult, st Style) {
	if r.Next == nil && !r.Untouched {
		return
	}
	fmt.Fprintln(w)
	if r.Untouched {
		fmt.Fprintf(w, "  nothing was %s\n", map[bool]string{true: "changed", false: "removed"}[r.Verb == "run"])
	}
	if r.Next == nil {
		return
	}
	if text := exists(r); text != "" {
		planText{w: w, st: st}.wrap("  ", text)
	}
	if r.Next.Resume != "" {
		fmt.Fprintf(w, "  carry on:   %s\n", st.paint(bold, r.Next.Resume))
	}
	if r.Next.BackOut != "" {
		fmt.Fprintf(w, "  remove it:  %s\n", st.paint(bold, r.Next.BackOut))
	}
}

// exists tells what is there by kind, what of it is on its way, and what it costs an hour; "" where there is nothing.
func exists(r *engine.RunResult) string {
	if len(r.Next.Exists) == 0 {
		return ""
	}
	kinds, under := map[string]int{}, map[string]map[string]int{} // in all, and on their way by word
	for _, c := range r.Next.Exists {
		kinds[c.Kind]++
		if !c.Unfinished {
			continue
		}
		word := "being made"
		if c.Action == "delete" {
			word = "being removed"
		}
		if under[c.Kind] == nil {
			under[c.Kind] = map[string]int{}
		}
		under[c.Kind][word]++
	}
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(kinds)) {
		part := fmt.Sprintf("%d %s", kinds[k], k)
		for _, word := range slices.Sorted(maps.Keys(under[k])) {
			if n := under[k][word]; n < kinds[k] {
				word = fmt.Sprintf("(%d %s)", n, word)
			}
			part += " " + word
		}
		parts = append(parts, part)
	}
	text := "exists now: " + strings.Join(parts, ", ")
	if r.Cost != nil && r.Cost.HourlyUSD > 0 {
		most := ""
		if r.Next.AtMost {
			most = "at most "
		}
		day := ""
		if r.Verb != "run" { // what was to go: it costs until somebody removes it
			day = fmt.Sprintf(", %.2f USD a day", r.Cost.HourlyUSD*24)
		}
		text += fmt.Sprintf(" (%s%s%s)", most, Money(r.Cost.HourlyUSD), day)
	}
	return text
}

// Ask writes what there is to know before a question about one thing.
func Ask(w io.Writer, subject, text string, st Style) {
	if text == "" {
		return
	}
	planText{w: w, st: st}.wrap(" "+st.paint(bold, subject)+": ", flat(text))
}
