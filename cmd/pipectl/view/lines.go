package view

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/x/ansi"

	"pipectl.dev/steps"
)

// heartbeat is how often a wait is told again in a log: often enough for a CI machine that ends silent jobs after minutes.
const heartbeat = 30 * time.Second

// Lines tells a run in a log: one line for each event that matters, waits every 30 seconds.
type Lines struct {
	mu   sync.Mutex
	out  io.Writer
	st   Style
	wide int                  // wrap lines at this width; zero: leave them whole, for grep
	told map[string]time.Time // last heartbeat, by stage and resource
}

// NewLines writes to out.
func NewLines(out io.Writer, st Style) *Lines {
	return &Lines{out: out, st: st, told: map[string]time.Time{}}
}

// Wrapped makes l break lines at the width of the terminal, further ones aligned below the text.
func (l *Lines) Wrapped() *Lines {
	l.wide = l.st.width()
	return l
}

// Apply writes ev, if it is worth a line.
func (l *Lines) Apply(ev steps.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	glyph, text := l.text(ev)
	if text == "" {
		return
	}
	stage := ev.Stage
	if stage == "" {
		stage = "-"
	}
	lead := fmt.Sprintf("%s %-12s %s ", l.st.paint(dim, ev.Time.Format("15:04:05")), stage, glyph)
	if l.wide > 0 {
		indent := ansi.StringWidth(lead)
		text = strings.Join(fill(text, max(l.wide-indent-1, 20)), "\n"+strings.Repeat(" ", indent))
	}
	fmt.Fprintf(l.out, "%s%s\n", lead, text)
}

func (l *Lines) text(ev steps.Event) (glyph, text string) {
	switch ev.Type {
	case steps.RunStart:
		return l.st.paint(cyan, ">"), ev.Message
	case steps.StageStart:
		return l.st.paint(cyan, ">"), ev.Step + prefixed(": ", ev.Message)
	case steps.StageDone:
		return l.ended(ev)
	case steps.ChangeDone:
		if ev.Change == nil || ev.Change.Action == "keep" {
			return "", ""
		}
		return l.st.paint(green, "+"), past(ev.Change) + l.took(ev)
	case steps.ChangeFailed:
		return l.st.paint(red, "!"), name(ev.Change) + ": " + flat(ev.Message)
	case steps.ChangeProgress, steps.Waiting:
		return l.wait(ev)
	case steps.Diagnostic:
		return l.st.paint(yellow, "!"), flat(ev.Message)
	}
	return "", ""
}

func (l *Lines) ended(ev steps.Event) (glyph, text string) {
	text = string(ev.Status) + l.took(ev) + prefixed(": ", flat(ev.Message))
	if good(ev.Status) {
		return l.st.paint(green, "="), text
	}
	return l.st.paint(red, "!"), text
}

func (l *Lines) took(ev steps.Event) string {
	if ev.ElapsedSeconds < 0.05 {
		return ""
	}
	return l.st.paint(dim, " ("+Span(seconds(ev.ElapsedSeconds))+")")
}

func (l *Lines) wait(ev steps.Event) (glyph, text string) {
	what := name(ev.Change)
	key := ev.Stage + " " + what
	last, ok := l.told[key]
	if !ok && (what != "" || ev.ExpectSeconds > 0) {
		l.told[key] = ev.Time // most resources are ready before the first heartbeat is due
		return "", ""
	}
	if ev.Time.Sub(last) < heartbeat {
		return "", ""
	}
	l.told[key] = ev.Time
	text = flat(ev.Message)
	if what != "" {
		text = what + prefixed(": ", text)
	}
	if ev.ExpectSeconds > 0 {
		return "~", fmt.Sprintf("%s (%s of about %s)", text, Span(seconds(ev.ElapsedSeconds)), Span(seconds(ev.ExpectSeconds)))
	}
	return "~", text + l.took(ev)
}

func name(c *steps.Change) string {
	if c == nil {
		return ""
	}
	return c.Kind + "/" + c.Name
}

func past(c *steps.Change) string {
	word := map[steps.Verb]string{"create": "created", "update": "changed", "delete": "deleted"}[c.Action]
	if word == "" {
		word = string(c.Action)
	}
	text := word + " " + name(c)
	if c.ID != "" && c.ID != c.Name {
		text += " " + c.ID
	}
	return text
}
