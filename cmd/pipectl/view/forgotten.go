package view

import (
	"fmt"
	"slices"
	"strings"

	"pipectl.dev/engine"
)

// forgotten lists what is left of stages that the file does not have any more, and what becomes of it.
func (d planText) forgotten(all []engine.Forgotten, prune bool) {
	st := d.st
	for _, gone := range []bool{true, false} {
		part := slices.DeleteFunc(slices.Clone(all), func(f engine.Forgotten) bool { return gone != (f.Kept == "") })
		if len(part) == 0 {
			continue
		}
		word := "kept"
		switch {
		case gone && prune:
			word = "to be removed"
		case gone:
			word = "kept; `pipectl run --prune` removes it"
		}
		d.line("")
		d.line(" %s", st.ends(st.paint(bold, "left the file")+"  "+st.paint(dim, word), st.paint(dim, daily(part)), st.width()-2))
		for _, f := range part {
			for _, g := range alike(f.Things) {
				d.things(g, gone && prune)
			}
			if f.Kept != "" {
				d.wrap("       ", st.paint(dim, f.Kept))
			}
		}
	}
}

// daily is what things cost a day.
func daily(all []engine.Forgotten) string {
	var things []engine.Thing
	for _, f := range all {
		things = append(things, f.Things...)
	}
	return price(things)
}

// price is what things cost a day, "" where that is nothing.
func price(things []engine.Thing) string {
	usd, unknown := 0.0, false
	for _, t := range things {
		if t.DailyUSD == nil {
			unknown = true
		} else {
			usd += *t.DailyUSD
		}
	}
	switch {
	case unknown && usd == 0:
		return "price unknown"
	case unknown:
		return fmt.Sprintf("at least %.2f USD a day", usd)
	case usd > 0:
		return fmt.Sprintf("%.2f USD a day", usd)
	default:
		return ""
	}
}

// alike puts things of one kind and name together, such as the instances of a node group.
func alike(things []engine.Thing) [][]engine.Thing {
	var out [][]engine.Thing
	for _, t := range things {
		i := slices.IndexFunc(out, func(g []engine.Thing) bool { return g[0].Kind == t.Kind && g[0].Name == t.Name })
		if i < 0 {
			out = append(out, nil)
			i = len(out) - 1
		}
		out[i] = append(out[i], t)
	}
	return out
}

func (d planText) things(g []engine.Thing, goes bool) {
	sign, color := d.st.pick("•", "*"), yellow
	if goes {
		sign, color = "-", red
	}
	name := g[0].Name
	if len(g) > 1 {
		name = fmt.Sprintf("%d %s", len(g), name)
	}
	line := "   " + d.st.paint(color, sign) + " " + d.st.left(g[0].Kind, 26) + " " + name
	d.line("%s", strings.TrimRight(d.st.ends(line, d.st.paint(dim, price(g)), d.st.width()-1), " "))
}
