package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"pipectl.dev/cmd/pipectl/view"
	"pipectl.dev/engine"
	"pipectl.dev/steps"
	"pipectl.dev/treecopy"
)

// copyShow tells how a copy goes: one line on a terminal, events in a file.
type copyShow struct {
	app    *app
	line   bool
	seq    int64
	file   *os.File
	events *engine.EventWriter
	last   treecopy.Progress
	rate   float64 // entries per second, smoothed
}

func (a *app) showCopy(c *cli.Context) (*copyShow, error) {
	s := &copyShow{app: a, line: isTerminal(a.stderr) && !c.Bool("quiet")}
	name := c.String("events")
	if name == "" {
		return s, nil
	}
	f, err := os.Create(name)
	if err != nil {
		return nil, &steps.Error{Code: "BadUsage", Category: steps.BadInput, Message: "--events", Err: err, Hints: []string{"name a file that can be written"}}
	}
	s.file, s.events = f, engine.NewEventWriter(f)
	s.record(steps.Event{Type: steps.Version, Version: steps.EventVersion})
	s.record(steps.Event{Type: steps.RunStart, Message: "copy"})
	return s, nil
}

func (s *copyShow) record(ev steps.Event) {
	if s.events == nil {
		return
	}
	s.seq++
	ev.Seq, ev.Time = s.seq, time.Now().UTC()
	s.events.Record(ev)
}

func (s *copyShow) progress(p treecopy.Progress) {
	s.record(steps.Event{Type: steps.ChangeProgress, Message: p.Phase, ElapsedSeconds: p.Seconds, Data: p})
	if !s.line {
		return
	}
	if d := p.Seconds - s.last.Seconds; p.Phase == s.last.Phase && d > 0 {
		now := float64(p.Entries-s.last.Entries) / d
		s.rate = 0.7*s.rate + 0.3*now
		if s.rate < now/2 {
			s.rate = now
		}
	} else {
		s.rate = 0
	}
	s.last = p
	st := s.app.style(s.app.stderr)
	fmt.Fprintf(s.app.stderr, "\r\x1b[K%s", st.Cut(copyLine(p, s.rate, st)))
}

// copyLine is a moment of a copy in one line: a bar and the time left where the number of entries is known.
func copyLine(p treecopy.Progress, rate float64, st view.Style) string {
	parts := []string{fmt.Sprintf("%-6s", p.Phase)}
	if p.Expected > 0 && (p.Phase == "copy" || p.Phase == "verify") {
		share := min(1, float64(p.Entries)/float64(p.Expected))
		parts = append(parts, st.Bar(20, share), fmt.Sprintf("%3.0f %%", 100*share))
	}
	parts = append(parts, fmt.Sprintf("%s entries", thousands(p.Entries)), "read "+view.Bytes(p.Bytes))
	if p.Seconds > 1 && p.Bytes > 0 {
		parts = append(parts, view.Bytes(int64(float64(p.Bytes)/p.Seconds))+"/s")
	}
	if left := p.Expected - p.Entries; left > 0 && rate > 0 && p.Seconds > 2 {
		parts = append(parts, view.Span(time.Duration(float64(left)/rate*float64(time.Second)))+" left")
	}
	return strings.Join(parts, "  ")
}

// thousands writes a count with separators.
func thousands(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// close takes the line away and ends the events.
func (s *copyShow) close(r copyResult, err error) error {
	if s.line {
		fmt.Fprint(s.app.stderr, "\r\x1b[K")
	}
	if s.events == nil {
		return nil
	}
	end := steps.Event{Type: steps.Summary, Status: steps.Succeeded, Data: r}
	if err != nil {
		end.Status, end.Message = steps.Failed, err.Error()
	}
	s.record(end)
	werr := s.events.Err()
	if cerr := s.file.Close(); werr == nil {
		werr = cerr
	}
	if werr != nil {
		return &steps.Error{Code: "EventsNotWritten", Category: steps.Partial, Message: "--events", Err: werr, Hints: []string{"the copy itself is done; make room for the events"}}
	}
	return nil
}

func (a *app) printCopy(c *cli.Context, r copyResult) error {
	if c.String("output") == "text" || c.String("output") == "" && isTerminal(a.stdout) {
		_, err := fmt.Fprint(a.stdout, copyText(r))
		return err
	}
	return a.print(format(c), r)
}

// copyText is the result for people: what was done, then what was left out, then what is wrong.
func copyText(r copyResult) string {
	var b strings.Builder
	if p := r.Report; p != nil && p.Seen.Dirs > 0 { // a copy that was refused did nothing to tell of
		b.WriteString(copyDone(p))
		if p.DryRun {
			each(&b, "copy", p.ToCopy, p.Copied.Files)
			each(&b, "delete", p.Removed, p.Deleted)
		}
		remarks(&b, p)
	}
	if v := r.Verified; v != nil {
		word := "verified"
		if v.Errors > 0 {
			word = fmt.Sprintf("differs in %s places:", thousands(v.Errors))
		}
		fmt.Fprintf(&b, "%s %s files, %s read back in %s\n", word, thousands(v.Seen.Files), view.Bytes(v.BytesRead), span(v.Seconds))
		remarks(&b, v)
	}
	return b.String()
}

func copyDone(p *treecopy.Report) string {
	copied, deleted, set := "copied", "deleted", "updated"
	if p.DryRun {
		copied, deleted, set = "to copy", "to delete", "to update"
	}
	var parts []string
	count := func(n int64, what string) {
		if n > 0 {
			parts = append(parts, thousands(n)+" "+what)
		}
	}
	if p.Copied.Files > 0 {
		parts = append(parts, fmt.Sprintf("%s %s (%s)", thousands(p.Copied.Files), copied, view.Bytes(p.BytesCopied)))
	}
	count(p.Copied.Symlinks+p.Copied.FIFOs+p.Copied.HardLinks, "links and pipes "+copied)
	count(p.Updated, set)
	count(p.Deleted, deleted)
	count(p.Unchanged, "unchanged")
	count(p.Errors, "errors")
	if len(parts) == 0 {
		parts = []string{"nothing to do"}
	}
	return fmt.Sprintf("%s files, %s: %s in %s\n", thousands(p.Seen.Files), view.Bytes(p.Bytes), strings.Join(parts, ", "), span(p.Seconds))
}

// each names what a dry run found, as far as the result has it.
func each(b *strings.Builder, what string, names []treecopy.Name, count int64) {
	lines := make([]string, len(names))
	for i, n := range names {
		lines[i] = treecopy.EscapeName(string(n))
	}
	slices.Sort(lines) // workers find them in any order
	for _, n := range lines {
		fmt.Fprintf(b, "  %s: %s\n", what, n)
	}
	if more := count - int64(len(names)); more > 0 {
		fmt.Fprintf(b, "  %s: ... and %s more\n", what, thousands(more))
	}
}

func span(seconds float64) string { return view.Span(time.Duration(seconds * float64(time.Second))) }

// remarks are what people should know besides.
func remarks(b *strings.Builder, p *treecopy.Report) {
	for _, s := range p.Skipped {
		named(b, "left out: "+s.Reason, s.Sample)
	}
	named(b, "vanished", p.Vanished)
	named(b, "still changing, to be copied again", p.Dirty)
	named(b, "links that leave the tree", p.Escaping)
	for _, n := range p.Notes {
		fmt.Fprintf(b, "  note: %s\n", n)
	}
	for i, e := range p.Problems {
		if i == 10 {
			fmt.Fprintf(b, "  ... and %s more (-o json lists 50)\n", thousands(p.Errors-10))
			break
		}
		fmt.Fprintf(b, "  error: %s\n", e.Error)
	}
}

func named(b *strings.Builder, what string, s treecopy.Sample) {
	if s.Count == 0 {
		return
	}
	var names []string
	for _, n := range s.Names[:min(3, len(s.Names))] {
		names = append(names, treecopy.EscapeName(string(n)))
	}
	if s.Count > int64(len(names)) {
		names = append(names, "...")
	}
	fmt.Fprintf(b, "  %s: %s (%s)\n", what, thousands(s.Count), strings.Join(names, ", "))
}
