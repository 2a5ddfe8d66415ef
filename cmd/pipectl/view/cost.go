package view

import (
	"fmt"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"pipectl.dev/steps"
)

// costs says what things cost by the hour, by the month, at a few hours a day and when all is down, and what those figures leave out. More
// may come to it where some of it is known later.
func (d planText) costs(c *steps.Cost, indent, word string, more bool) {
	if c == nil || len(c.Items) == 0 {
		return
	}
	lead := " " + indent + word + " "
	d.pack(lead, figures(c, more, d.st))
	small := ""
	if c.PricesAsOf != "" {
		small = "list prices, the oldest of " + c.PricesAsOf + "; "
	}
	if len(c.Unknown) > 0 {
		small += "price unknown: " + strings.Join(c.Unknown, ", ") + "; "
	}
	if len(c.NotCounted) > 0 {
		small += "not counted: " + strings.Join(c.NotCounted, ", ") + "; "
	}
	for _, l := range fill(strings.TrimSuffix(small, "; "), max(d.st.width()-len(indent)-2, 20)) {
		d.line(" %s%s", indent, d.st.paint(dim, l))
	}
}

// pack writes parts after lead, as many to a line as fit; a part is not broken.
func (d planText) pack(lead string, parts []string) {
	indent, line := ansi.StringWidth(lead), ""
	for _, part := range parts {
		if line != "" && indent+ansi.StringWidth(line+d.st.dot()+part) >= d.st.width() {
			d.line("%s%s", lead, line)
			lead, line = strings.Repeat(" ", indent), ""
		}
		if line != "" {
			line += d.st.dot()
		}
		line += part
	}
	d.line("%s%s", lead, line)
}

// figures are the sums of a cost; one that lacks something says "at least", one that holds nothing says so too.
func figures(c *steps.Cost, more bool, st Style) []string {
	least := ""
	if more || len(c.Unknown) > 0 {
		least = "at least "
	}
	if c.HourlyUSD == 0 {
		return []string{"an unknown amount"}
	}
	out := []string{least + st.paint(bold, Money(c.HourlyUSD)), monthly(c.MonthlyUSD) + " USD a month"}
	if c.MonthlyAfterDownUSD < c.MonthlyUSD {
		out = append(out, fmt.Sprintf("%s at %d h a day", monthly(c.MonthlyPartTimeUSD), steps.HoursADay))
	}
	switch {
	case c.RestUnknown():
		out = append(out, "after `down` not known")
	case c.MonthlyAfterDownUSD > 0 && c.MonthlyAfterDownUSD < c.MonthlyUSD:
		out = append(out, monthly(c.MonthlyAfterDownUSD)+" after `down`")
	}
	return out
}

// monthly writes USD a month with as many digits as matter.
func monthly(usd float64) string {
	if usd < 10 {
		return fmt.Sprintf("%.2f", usd)
	}
	return fmt.Sprintf("%.0f", usd)
}
