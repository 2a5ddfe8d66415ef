package view

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"pipectl.dev/steps"
)

// clock writes a running time: 0:04, 6:38, 1:02:10.
func clock(d time.Duration) string {
	s := int(max(d, 0) / time.Second)
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

// Span writes a finished or expected time in words: 0.4 s, 42 s, 6 min 38 s, 1 h 2 min.
func Span(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return strconv.FormatFloat(float64(d.Round(100*time.Millisecond))/float64(time.Second), 'f', -1, 64) + " s"
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Round(time.Second)/time.Second))
	case d < time.Hour:
		s := int(d.Round(time.Second) / time.Second)
		if s%60 == 0 {
			return fmt.Sprintf("%d min", s/60)
		}
		return fmt.Sprintf("%d min %d s", s/60, s%60)
	default:
		m := int(d.Round(time.Minute) / time.Minute)
		return fmt.Sprintf("%d h %d min", m/60, m%60)
	}
}

// about writes an estimate no more precisely than it is known.
func about(d time.Duration) string {
	switch {
	case d < 5*time.Second:
		return "a moment"
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Round(5*time.Second)/time.Second))
	case d < 3*time.Minute:
		return Span(d.Round(10 * time.Second))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Round(time.Minute)/time.Minute))
	default:
		return Span(d)
	}
}

// Money writes a price per hour with as many digits as matter.
func Money(usd float64) string {
	switch {
	case usd == 0:
		return "0 USD/h"
	case usd < 0.01:
		return fmt.Sprintf("%.4f USD/h", usd)
	case usd < 1:
		return fmt.Sprintf("%.3f USD/h", usd)
	default:
		return fmt.Sprintf("%.2f USD/h", usd)
	}
}

// tally writes counts in the past tense; a run that kept everything says so.
func tally(c steps.Counts, sep string) string {
	var parts []string
	for _, x := range []struct {
		n    int
		word string
	}{{c.Create, "created"}, {c.Update, "changed"}, {c.Delete, "deleted"}, {c.Keep, "kept"}} {
		if x.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", x.n, x.word))
		}
	}
	if len(parts) == 0 {
		return "nothing to do"
	}
	return strings.Join(parts, sep)
}

// flat puts a message on one line.
func flat(s string) string { return strings.Join(strings.Fields(s), " ") }

// Bytes writes an amount of data in binary units.
func Bytes(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, i := float64(n)/unit, 0
	for value >= unit && i < 3 {
		value /= unit
		i++
	}
	return fmt.Sprintf("%.1f %s", value, []string{"KiB", "MiB", "GiB", "TiB"}[i])
}
