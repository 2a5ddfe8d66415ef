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
	if r.SimulatedSeconds > 0 {
		head += st.paint(dim, fmt.Sprintf(" (%s of the cloud's time)", Span(seconds(r.SimulatedSeconds))))
	}
	fmt.Fprintf(w, "\n %s %s: %s\n", r.Verb, st.paint(bold, r.Pipeline), head)
	for _, name := range slices.Sorted(maps.Keys(r.Outputs)) {
		fmt.Fprintf(w, "   %-12s %s\n", name, plain(r.Outputs[name]))
	}
	if r.Cost != nil && r.Cost.HourlyUSD > 0 {
		fmt.Fprintf(w, "   %-12s %s at list prices of %s\n", "costs", Money(r.Cost.HourlyUSD), r.Cost.PricesAsOf)
	}
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
	if r.Next == nil {
		return
	}
	fmt.Fprintln(w)
	if n := len(r.Next.Exists); n > 0 {
		kinds := map[string]int{}
		for _, c := range r.Next.Exists {
			kinds[c.Kind]++
		}
		var parts []string
		for _, k := range slices.Sorted(maps.Keys(kinds)) {
			parts = append(parts, fmt.Sprintf("%d %s", kinds[k], k))
		}
		text := fmt.Sprintf("exists now: %s", strings.Join(parts, ", "))
		if r.Cost != nil && r.Cost.HourlyUSD > 0 {
			text += fmt.Sprintf(" (%s)", Money(r.Cost.HourlyUSD))
		}
		planText{w: w, st: st}.wrap("  ", text)
	}
	if r.Next.Resume != "" {
		fmt.Fprintf(w, "  carry on:   %s\n", st.paint(bold, r.Next.Resume))
	}
	if r.Next.BackOut != "" {
		fmt.Fprintf(w, "  remove it:  %s\n", st.paint(bold, r.Next.BackOut))
	}
}

// Status writes what exists, a line for each stage.
func Status(w io.Writer, r *engine.StatusReport, st Style) {
	fmt.Fprintf(w, " %s%s\n", st.paint(bold, r.Pipeline), st.paint(dim, prefixed(st.dot(), r.Identity)))
	width := 8
	for _, s := range r.Stages {
		width = max(width, len(s.Stage))
	}
	for _, s := range r.Stages {
		glyph, word := st.paint(dim, st.pick("○", "-")), "not there"
		switch {
		case s.Unknown:
			glyph, word = st.paint(yellow, "?"), "could not be looked at"
		case s.Exists:
			glyph, word = st.paint(green, st.pick("✓", "+")), "there"
		}
		last := ""
		if s.Last != nil {
			last = fmt.Sprintf("last run: %s, %s", strings.ToLower(string(s.Last.Status)), s.Last.FinishedAt.Local().Format("2006-01-02 15:04"))
		}
		fmt.Fprintf(w, " %s %s %s %s\n", glyph, st.left(s.Stage, width), st.left(word, 24), st.paint(dim, last))
	}
}

// Ask writes what there is to know before a question about one thing.
func Ask(w io.Writer, subject, text string, st Style) {
	if text == "" {
		return
	}
	planText{w: w, st: st}.wrap(" "+st.paint(bold, subject)+": ", flat(text))
}
