package view

import (
	"fmt"
	"io"
	"strings"

	"pipectl.dev/engine"
)

// Doctor writes what preflights looked at, for people: one line a check, notes below, and a verdict. The problems themselves are told as
// errors, with their hints.
func Doctor(w io.Writer, r *engine.DoctorReport, st Style) {
	d := planText{w: w, st: st}
	fmt.Fprintf(w, " %s%s\n", st.paint(bold, "doctor "+r.Pipeline), st.paint(dim, prefixed(st.dot(), r.Identity)))
	width := 0
	for _, s := range r.Stages {
		for _, c := range s.Checks {
			width = max(width, len(c.What))
		}
	}
	checks := 0
	for _, s := range r.Stages {
		if len(s.Checks)+len(s.Notes) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n %s %s\n", st.paint(bold, s.Stage), st.paint(dim, s.Step))
		for _, c := range s.Checks {
			checks++
			glyph := st.paint(green, st.pick("✓", "+"))
			if !c.OK {
				glyph = st.paint(red, st.pick("✗", "x"))
			}
			fmt.Fprintf(w, "   %s %s  %s\n", glyph, st.left(c.What, width), flat(c.Detail))
		}
		for _, n := range s.Notes {
			d.wrap("   "+st.paint(yellow, st.pick("•", "*"))+" ", flat(n))
		}
	}
	fmt.Fprintln(w)
	d.wrap(" ", verdict(r, checks, st))
}

func verdict(r *engine.DoctorReport, checks int, st Style) string {
	var later []string
	for _, s := range r.Stages {
		if len(s.Deferred) > 0 {
			later = append(later, s.Stage)
		}
	}
	text := fmt.Sprintf("%d checks", checks) + st.dot()
	switch n := len(r.Errors); n {
	case 0:
		text += st.paint(green, "nothing stands in the way")
	case 1:
		text += st.paint(red, "1 problem")
	default:
		text += st.paint(red, fmt.Sprintf("%d problems", n))
	}
	if len(later) > 0 {
		text += st.dot() + "in part looked at later, when earlier stages have run: " + strings.Join(later, ", ")
	}
	return text
}
