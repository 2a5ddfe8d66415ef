package view

import (
	"fmt"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"pipectl.dev/steps"
)

// Frame draws the run as it is at now, at most st.Height lines of at most st.Width cells. It reads the model and nothing else.
func (m *Model) Frame(now time.Time, st Style) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := drawing{m: m, now: now, st: st, names: m.nameWidth()}
	if m.Verb == "plan" || m.Verb == "status" {
		return d.looking()
	}
	head, foot := d.head(), d.foot()
	room := st.Height - len(head) - len(foot)
	if st.Height == 0 {
		room = 1 << 20
	}
	return append(append(head, d.body(room)...), foot...)
}

type drawing struct {
	m     *Model
	now   time.Time
	st    Style
	names int
}

func (m *Model) nameWidth() int {
	w := 8
	for _, s := range m.stages {
		w = max(w, ansi.StringWidth(s.Name))
	}
	return min(w, 18)
}

func (d drawing) head() []string {
	st, m := d.st, d.m
	spent := d.now.Sub(m.began)
	if m.began.IsZero() {
		spent = 0
	}
	left, atLeast := m.left(d.now)
	right := clock(spent)
	switch {
	case !m.ended.IsZero():
		right = clock(m.ended.Sub(m.began))
	case left < 5*time.Second && atLeast: // it says nothing
	case left > 0 && left < 5*time.Second:
		right += st.dot() + "nearly done"
	case left > 0 && atLeast:
		right += st.dot() + "at least " + about(left) + " left"
	case left > 0:
		right += st.dot() + "about " + about(left) + " left"
	}
	share := 0.0
	if total := spent + left; total > 0 {
		share = float64(spent) / float64(total)
	}
	if m.settled() {
		share = 1
	} else if left == 0 || atLeast {
		share = min(share, m.doneShare(d.now))
	}
	title := st.paint(bold, m.Verb) + " " + m.Title
	if m.Speed > 1 {
		title += st.paint(dim, fmt.Sprintf("  rehearsal %s%g", st.pick("×", "x"), m.Speed))
	}
	color := cyan
	if m.failed() {
		color = red
	} else if m.settled() {
		color = green
	}
	w := st.width() - 2
	return []string{" " + st.ends(title, st.paint(dim, right), w), " " + st.bar(w, share, color)}
}

// looking is the picture of a verb that changes nothing and whose result says all: that it is at work, and for how long.
func (d drawing) looking() []string {
	st, m := d.st, d.m
	title := st.paint(bold, m.Verb) + " " + m.Title
	spent := max(d.now.Sub(m.began), 0)
	if m.began.IsZero() {
		spent = 0
	}
	text := fmt.Sprintf("looking at %d %s", len(m.stages), plural(len(m.stages), "stage", "stages"))
	return []string{" " + st.ends(title, st.paint(dim, clock(spent)), st.width()-2), " " + st.paint(dim, text)}
}

// doneShare is a plain fraction of stages, for when times are not known.
func (m *Model) doneShare(now time.Time) float64 {
	sum := 0.0
	for _, s := range m.stages {
		sum += s.share(now, m.Speed)
	}
	return sum / float64(max(len(m.stages), 1))
}

func (m *Model) settled() bool {
	for _, s := range m.stages {
		if !s.done() {
			return false
		}
	}
	return true
}

func (m *Model) failed() bool {
	for _, s := range m.stages {
		if s.done() && !good(s.status) {
			return true
		}
	}
	return false
}

func good(s steps.Status) bool {
	return s == steps.Succeeded || s == steps.Skipped || s == steps.Planned || s == steps.Destroyed
}

func (d drawing) foot() []string {
	m, st := d.m, d.st
	c := m.counts()
	left := tally(c, st.dot())
	if c == (steps.Counts{}) && !m.settled() {
		left = ""
	}
	var right string
	if usd, atLeast := m.hourly(); usd > 0 && m.Verb == "run" {
		right = Money(usd) + " when all stands"
		if atLeast {
			right = "at least " + right
		}
	}
	out := []string{"", " " + st.ends(left, st.paint(dim, right), st.width()-2)}
	if !m.settled() {
		out = append(out, " "+st.paint(dim, st.cut("Ctrl-C ends the work in hand and stops; run again to carry on.", st.width()-2)))
	}
	return out
}

// body draws the stages into room lines: first with all their work, then with less of it, then with finished and coming stages folded.
func (d drawing) body(room int) []string {
	for _, detail := range []int{8, 4, 2, 1, 0} {
		if lines := d.stages(detail, false); len(lines) <= room {
			return lines
		}
	}
	for _, detail := range []int{4, 2, 1, 0} {
		if lines := d.stages(detail, true); len(lines) <= room {
			return lines
		}
	}
	lines := d.stages(0, true)
	return lines[:min(len(lines), max(room, 0))]
}

func (d drawing) stages(detail int, fold bool) []string {
	var out, ended, coming []string
	for _, s := range d.m.stages {
		switch {
		case fold && s.done() && good(s.status):
			ended = append(ended, s.Name)
		case fold && s.status == "":
			coming = append(coming, s.Name)
		default:
			out = append(out, d.stage(s))
			out = append(out, d.work(s, detail)...)
		}
	}
	if len(ended) > 0 {
		out = append([]string{d.folded(green, d.st.pick("✓", "+"), "done", ended)}, out...)
	}
	if len(coming) > 0 {
		out = append(out, d.folded(dim, d.st.pick("○", "-"), "to come", coming))
	}
	return out
}

func (d drawing) folded(color, glyph, word string, names []string) string {
	text := fmt.Sprintf("%d %s: %s", len(names), word, strings.Join(names, ", "))
	return " " + d.st.paint(color, glyph) + " " + d.st.paint(dim, d.st.cut(text, d.st.width()-4))
}

// stage is one line: glyph, name, time, words, and a bar while it runs.
func (d drawing) stage(s *stage) string {
	st := d.st
	glyph, color := d.glyph(s)
	took := ""
	if !s.began.IsZero() {
		took = clock(s.took(d.now))
	}
	name := st.left(s.Name, d.names)
	if s.status == "" {
		name = st.paint(dim, name)
	}
	line := fmt.Sprintf(" %s %s %s  ", st.paint(color, glyph), name, st.paint(dim, st.right(took, 6)))
	room := st.width() - ansi.StringWidth(line) - 1
	const bar = 16
	if s.status != running || s.Expect <= 0 || room < bar+20 {
		return line + d.words(s, room)
	}
	expect := s.real(d.m.Speed)
	tail := st.bar(bar, s.share(d.now, d.m.Speed), cyan) + " " + st.paint(dim, st.right("of "+clock(expect), 8))
	words := d.words(s, room-bar-11)
	return line + st.left(words, room-bar-11) + "  " + tail
}

func (d drawing) glyph(s *stage) (glyph, color string) {
	st := d.st
	switch s.status {
	case "":
		return st.pick("○", "-"), dim
	case running:
		turn := []string{"◐", "◓", "◑", "◒"}[d.now.UnixMilli()/500%4]
		return st.pick(turn, ">"), cyan
	case steps.Succeeded, steps.Destroyed:
		return st.pick("✓", "+"), green
	case steps.Skipped, steps.Planned:
		return st.pick("✓", "="), dim
	case steps.Blocked, steps.Canceled:
		return st.pick("■", "#"), yellow
	default:
		return st.pick("✗", "x"), red
	}
}

// words says how a stage stands.
func (d drawing) words(s *stage, room int) string {
	st := d.st
	sep := st.dot()
	switch {
	case s.status == "":
		return st.paint(dim, st.cut(d.pending(s), room))
	case s.status == running:
		return st.cut(d.underway(s), room)
	case s.status == steps.Skipped:
		return st.paint(dim, st.cut("nothing to do"+prefixed(sep, s.message), room))
	case good(s.status):
		return st.paint(dim, st.cut(tally(s.counts, sep), room))
	default:
		return st.paint(yellowOrRed(s.status), st.cut(strings.ToLower(string(s.status))+prefixed(": ", flat(s.message)), room))
	}
}

func yellowOrRed(s steps.Status) string {
	if s == steps.Blocked || s == steps.Canceled {
		return yellow
	}
	return red
}

func prefixed(sep, s string) string {
	if s == "" {
		return ""
	}
	return sep + s
}

func (d drawing) pending(s *stage) string {
	waits := d.m.waits(s)
	if len(s.work) == 1 && s.work[0].change.Kind == "" {
		return flat(s.work[0].detail) // somebody else holds its lock
	}
	text := "ready"
	if len(waits) > 0 {
		text = "after " + strings.Join(waits, ", ")
	}
	if s.Asks {
		text += d.st.dot() + "asks first"
	}
	return text
}

func (d drawing) underway(s *stage) string {
	done := s.counts.Create + s.counts.Update + s.counts.Delete
	if s.Changes > 1 {
		return fmt.Sprintf("%d of %d", min(done, s.Changes), s.Changes)
	}
	if len(s.work) == 1 && s.work[0].change.Kind == "" {
		return flat(s.work[0].detail)
	}
	return s.Step
}

// work is one line for each of the n things that hold the stage up longest.
func (d drawing) work(s *stage, n int) []string {
	if s.status != running || n == 0 {
		return nil
	}
	var out []string
	ws := byUrgency(s.work, d.now)
	for i, w := range ws {
		if w.change.Kind == "" && s.Changes <= 1 && len(ws) == 1 {
			continue // the stage's own line says it
		}
		if i == n {
			out = append(out, d.st.paint(dim, fmt.Sprintf("     %s and %d more", d.st.pick("└", "`"), len(ws)-n)))
			break
		}
		out = append(out, d.task(w, i == len(ws)-1))
	}
	return out
}

func (d drawing) task(w *work, last bool) string {
	st := d.st
	branch := st.pick("├", "|")
	if last {
		branch = st.pick("└", "`")
	}
	what := strings.TrimSpace(w.change.Kind + " " + w.change.Name)
	if what == "" {
		what = flat(w.detail)
	}
	age := w.age(d.now)
	line := "   " + st.paint(dim, branch) + " "
	room := st.width() - ansi.StringWidth(line) - 1
	tail := st.paint(dim, st.right(clock(age), 6))
	switch {
	case room < 50: // too narrow for a bar
	case w.expect > 0:
		share := min(float64(age)/float64(w.expect), 0.97)
		tail += "  " + st.bar(16, share, cyan) + " " + st.paint(dim, st.right("of "+clock(w.expect), 8))
	default:
		tail += strings.Repeat(" ", 27)
	}
	room -= ansi.StringWidth(tail) + 1
	if w.detail != "" && w.detail != what {
		detail := st.cut(flat(w.detail), max(room-ansi.StringWidth(what)-2, 0))
		what = st.cut(what, room) + "  " + st.paint(dim, detail)
	}
	return line + st.left(what, room) + " " + tail
}
