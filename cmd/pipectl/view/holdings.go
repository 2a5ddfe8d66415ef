package view

import (
	"fmt"
	"io"
	"strings"

	"pipectl.dev/engine"
	"pipectl.dev/steps"
)

// holdings writes what costs by the hour, and what all of it comes to. Where a line would be too wide it goes without the identifier, then
// without the day.
func holdings(w io.Writer, all []engine.Holding, cost *steps.Cost, st Style) {
	if len(all) == 0 {
		return
	}
	kinds, names, ids, notes := 0, 0, 0, 0
	for _, h := range all {
		kinds, names, ids, notes = max(kinds, len(h.Kind)), max(names, len(h.Name)), max(ids, len(h.ID)), max(notes, len(remark(h)))
	}
	const price, day = 13, 16
	least := 3 + kinds + 2 + names + 2 + price + 2 + notes
	withDay, withID := least+2+day <= st.width(), least+2+day+2+ids <= st.width()
	fmt.Fprintln(w)
	for _, h := range all {
		usd := "price unknown"
		if h.HourlyUSD != nil {
			usd = fmt.Sprintf("%.4f USD/h", *h.HourlyUSD)
		}
		line := "   " + st.left(h.Kind, kinds) + "  " + st.left(h.Name, names) + "  "
		if withID {
			line += st.left(h.ID, ids) + "  "
		}
		line += st.right(usd, price) + "  "
		if withDay {
			made := ""
			if h.Since != nil {
				made = h.Since.Local().Format("2006-01-02 15:04")
			}
			line += st.paint(dim, st.left(made, day)) + "  "
		}
		color := dim
		if h.Left != "" {
			color = yellow
		}
		fmt.Fprintln(w, strings.TrimRight(line+st.paint(color, remark(h)), " "))
	}
	planText{w: w, st: st}.costs(cost, "", fmt.Sprintf("%d %s", len(all), plural(len(all), "thing costs", "things cost")), false)
}

// remark says of a thing that `down` keeps it, or that it should not be there.
func remark(h engine.Holding) string {
	switch {
	case h.Data:
		return "kept"
	case h.Left == engine.LeftByStage:
		return "left the file"
	case h.Left == engine.LeftOver && h.HourlyUSD != nil:
		return fmt.Sprintf("left over, %.2f a day", *h.HourlyUSD*24)
	case h.Left == engine.LeftOver:
		return "left over"
	default:
		return ""
	}
}
