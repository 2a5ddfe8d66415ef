package view

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"pipectl.dev/engine"
	"pipectl.dev/steps"
)

// Plan writes what a run would do, for people: changes, cost, expected time, and what is known only later and why.
func Plan(w io.Writer, p *engine.PlanReport, st Style) {
	draw(planText{w: w, p: p, st: st, verb: "plan"})
}

// Down writes what going down would remove.
func Down(w io.Writer, p *engine.PlanReport, st Style) {
	draw(planText{w: w, p: p, st: st, verb: "down"})
}

func draw(d planText) {
	d.heading()
	for _, s := range d.p.Stages {
		if s.State != engine.NotPlanned {
			d.stage(s)
		}
	}
	d.forgotten(d.p.Forgotten, d.p.Prune)
	d.total()
}

type planText struct {
	w    io.Writer
	p    *engine.PlanReport
	st   Style
	verb string
}

func (d planText) line(format string, args ...any) { fmt.Fprintf(d.w, format+"\n", args...) }

func (d planText) heading() {
	title := d.st.paint(bold, d.verb+" "+d.p.Pipeline)
	if d.p.Identity != "" {
		title += d.st.paint(dim, d.st.dot()+d.p.Identity)
	}
	d.line(" %s", title)
}

func (d planText) stage(s engine.StagePlan) {
	st := d.st
	right := ""
	if s.State == engine.HasChanges && s.Forecast.Seconds > 0 && d.verb != "down" {
		right = "about " + about(seconds(s.Forecast.Seconds))
	}
	name := fmt.Sprintf("%s %s", st.paint(bold, s.Stage), st.paint(dim, s.Step))
	d.line("")
	d.line(" %s", st.ends(strings.TrimRight(name+"  "+d.state(s), " "), st.paint(dim, right), st.width()-2))
	for _, g := range group(s.Changes) {
		d.group(g)
	}
	if d.verb == "down" {
		return // notes and questions are about making it
	}
	for _, n := range s.Forecast.Notes {
		d.wrap("   "+st.paint(yellow, st.pick("•", "*"))+" ", flat(n))
	}
	if s.Confirm && s.State != engine.AllKeep && s.State != engine.WhenFalse {
		text := "asks before it starts"
		if s.Forecast.Confirm != "" {
			text += ": " + flat(s.Forecast.Confirm)
		}
		d.wrap("   "+st.paint(yellow, "?")+" ", text)
	}
}

func (d planText) state(s engine.StagePlan) string {
	st := d.st
	switch s.State {
	case engine.AllKeep:
		return st.paint(dim, kept(s.Counts.Keep))
	case engine.IsDeferred:
		return st.paint(yellow, "known after "+strings.Join(after(s.Deferred), ", "))
	case engine.WhenFalse:
		return st.paint(dim, "skipped: its `when` is false")
	case engine.PlanFailed:
		return st.paint(red, "could not be planned")
	case engine.HasChanges:
		if s.Counts.Any() {
			return d.counts(s.Counts)
		}
	}
	return ""
}

func kept(n int) string {
	if n == 0 {
		return "nothing to do"
	}
	return fmt.Sprintf("nothing to do, %d kept", n)
}

func after(ds []engine.Deferred) []string {
	var out []string
	for _, d := range ds {
		for _, a := range d.After {
			if !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	return out
}

func (d planText) counts(c steps.Counts) string {
	st := d.st
	var parts []string
	for _, x := range []struct {
		n           int
		color, text string
	}{{c.Create, green, "to create"}, {c.Update, yellow, "to change"}, {c.Delete, red, "to delete"}, {c.Keep, dim, "kept"}} {
		if x.n > 0 {
			parts = append(parts, st.paint(x.color, fmt.Sprintf("%d %s", x.n, x.text)))
		}
	}
	return strings.Join(parts, st.dot())
}

// changes of one verb and kind stand on one line, but those with drift, which is worth a line each.
type changeGroup struct {
	verb  steps.Verb
	kind  string
	names []string
	drift []string
}

func group(changes []steps.Change) []changeGroup {
	var out []changeGroup
	for _, c := range changes {
		if c.Action == "keep" {
			continue
		}
		last := len(out) - 1
		if len(c.Drift) == 0 && last >= 0 && out[last].verb == c.Action && out[last].kind == c.Kind && len(out[last].drift) == 0 {
			out[last].names = append(out[last].names, c.Name)
			continue
		}
		out = append(out, changeGroup{verb: c.Action, kind: c.Kind, names: []string{c.Name}, drift: c.Drift})
	}
	return out
}

func (d planText) group(g changeGroup) {
	st := d.st
	sign, color := sign(g.verb)
	count := ""
	if len(g.names) > 1 {
		count = st.paint(dim, fmt.Sprintf("%d ", len(g.names)))
	}
	d.wrap("   "+st.paint(color, sign)+" "+st.left(g.kind, 26)+" ", count+strings.Join(g.names, ", "))
	for _, x := range g.drift {
		d.wrap("       ", st.paint(dim, flat(x)))
	}
}

func sign(v steps.Verb) (sign, color string) {
	switch v {
	case "create":
		return "+", green
	case "update":
		return "~", yellow
	case "delete":
		return "-", red
	case "refuse":
		return "!", red
	default:
		return " ", dim
	}
}

// wrap writes text after lead, further lines aligned below its beginning.
func (d planText) wrap(lead, text string) {
	indent := ansi.StringWidth(lead)
	for i, l := range fill(text, max(d.st.width()-indent-1, 20)) {
		if i > 0 {
			lead = strings.Repeat(" ", indent)
		}
		d.line("%s%s", lead, l)
	}
}

// fill breaks text at spaces into lines of at most n cells; a longer word has a line of its own. Names are not broken at their dashes.
func fill(text string, n int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case ansi.StringWidth(line)+1+ansi.StringWidth(word) <= n:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}

func (d planText) total() {
	st, p := d.st, d.p
	d.line("")
	d.line(" %s", st.paint(dim, strings.Repeat(st.pick("─", "-"), st.width()-2)))
	sum := p.Changes
	for _, f := range p.Forgotten {
		if p.Prune && f.Kept == "" {
			sum.Delete += len(f.Things)
		}
	}
	text := d.counts(sum)
	if text == "" {
		text = "nothing to change"
	}
	if n := len(p.Deferred); n > 0 {
		text += st.dot() + st.paint(yellow, fmt.Sprintf("%d %s known later", n, plural(n, "stage", "stages")))
	}
	right := ""
	if p.Seconds > 0 && d.verb != "down" { // it is the time to make it
		right = "about " + about(time.Duration(p.Seconds)*time.Second)
		if len(p.Deferred) > 0 {
			right = "at least " + about(time.Duration(p.Seconds)*time.Second)
		}
	}
	d.line(" %s", st.ends(text, st.paint(bold, right), st.width()-2))
	d.costs(p.Cost, "", map[bool]string{true: "costs now", false: "costs"}[d.verb == "down"], len(p.Deferred) > 0)
	for _, w := range p.Warnings {
		d.wrap(" "+st.paint(yellow, "warning: "), flat(w))
	}
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
