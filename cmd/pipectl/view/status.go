package view

import (
	"fmt"
	"io"
	"strings"

	"pipectl.dev/engine"
	"pipectl.dev/steps"
)

// Status writes what exists, a line for each stage and for each thing in it that is not as the file says, then what costs.
func Status(w io.Writer, r *engine.StatusReport, st Style) {
	d := planText{w: w, st: st}
	fmt.Fprintf(w, " %s%s\n\n", st.paint(bold, r.Pipeline), st.paint(dim, prefixed(st.dot(), r.Identity)))
	names, steps := 8, 0
	for _, s := range r.Stages {
		names, steps = max(names, len(s.Stage)), max(steps, len(s.Step))
	}
	for _, s := range r.Stages {
		glyph, word := standing(s, st)
		last := ""
		if s.Last != nil {
			last = fmt.Sprintf("%s %s", strings.ToLower(string(s.Last.Status)), s.Last.FinishedAt.Local().Format("2006-01-02 15:04"))
		}
		line := fmt.Sprintf(" %s %s %s  %s", glyph, st.left(s.Stage, names), st.paint(dim, st.left(s.Step, steps)), word)
		d.line("%s", strings.TrimRight(st.ends(line, st.paint(dim, last), st.width()-1), " "))
		for _, c := range s.Drift {
			d.drift(c)
		}
	}
	d.forgotten(r.Forgotten, false)
	holdings(w, r.Holdings, r.Cost, st)
	for _, text := range r.Warnings {
		d.wrap(" "+st.paint(yellow, "warning: "), flat(text))
	}
}

func standing(s engine.StageStatus, st Style) (glyph, word string) {
	switch {
	case s.Unknown:
		return st.paint(yellow, "?"), "could not be looked at"
	case s.Exists && len(s.Drift) > 0:
		return st.paint(yellow, st.pick("≠", "!")), st.paint(yellow, fmt.Sprintf("there, %d %s from the file", len(s.Drift), plural(len(s.Drift), "thing differs", "things differ")))
	case s.Exists:
		return st.paint(green, st.pick("✓", "+")), "there"
	case s.Partial:
		return st.paint(yellow, st.pick("◐", "~")), st.paint(yellow, "there in part")
	default:
		return st.paint(dim, st.pick("○", "-")), "not there"
	}
}

// drift is what a run would do to one thing, and why.
func (d planText) drift(c steps.Change) {
	mark, color := sign(c.Action)
	why := strings.Join(c.Drift, "; ")
	switch {
	case c.Action == "create":
		why = "is missing"
	case c.Action == "refuse" && why == "":
		why = "is somebody else's"
	case c.Action == "refuse":
		why += " (cannot be changed in place)"
	}
	d.wrap("     "+d.st.paint(color, mark)+" "+c.Kind+" "+c.Name+"  ", d.st.paint(dim, flat(why)))
}
