package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"pipectl.dev/cmd/pipectl/view"
	"pipectl.dev/engine"
	"pipectl.dev/steps"
)

// progress shows on stderr how a run goes: a live picture on a terminal, lines in a pipe, JSON or nothing where asked.
type progress struct {
	app    *app
	model  *view.Model
	screen *view.Screen
	record func(steps.Event)
	format string
	quiet  bool

	mu    sync.Mutex
	held  []steps.Event // notes of plans, until it shows whether a plan with them is shown
	begun bool          // stages run
	plan  bool          // the verb is plan, whose result holds all notes
}

// newProgress chooses how to show a run of p. speed is how much faster than real the cloud runs.
func (a *app) newProgress(c *cli.Context, p *engine.Pipeline, identity, verb string, speed float64) (*progress, error) {
	if err := oneOf(c, "log-format", "text", "json"); err != nil {
		return nil, err
	}
	title := p.Name
	if identity != "" {
		title += " · " + identity
	}
	g := &progress{app: a, format: c.String("log-format"), quiet: c.Bool("quiet"), plan: verb == "plan", model: view.NewModel(title, verb, stagesOf(p, verb))}
	if speed > 1 {
		g.model.Speed = speed
	}
	switch {
	case g.plan && !isTerminal(a.stderr) && g.format != "json":
		g.record = func(steps.Event) {} // the plan on stdout holds all of it
	case g.format == "json":
		g.record = g.json
	case g.quiet:
		g.record = g.onlyBad(view.NewLines(a.stderr, a.style(a.stderr)))
	case isTerminal(a.stderr):
		g.screen = view.NewScreen(a.stderr, g.model, func() view.Style { return a.style(a.stderr) })
		g.record = g.picture
	default:
		lines := view.NewLines(a.stderr, a.style(a.stderr))
		g.record = lines.Apply
	}
	return g, nil
}

// stagesOf lists the stages as the verb goes through them: down walks backwards.
func stagesOf(p *engine.Pipeline, verb string) []view.Stage {
	var out []view.Stage
	for _, s := range p.Stages {
		out = append(out, view.Stage{Name: s.Name, Step: s.Definition.Name, Needs: s.Needs, Asks: s.Confirm, Expect: s.Definition.Expect, Cloud: s.Definition.AWS})
	}
	if verb == "run" {
		return out
	}
	users := map[string][]string{}
	for _, s := range out {
		for _, n := range s.Needs {
			users[n] = append(users[n], s.Name)
		}
	}
	for i := range out {
		out[i].Needs, out[i].Asks, out[i].Expect = users[out[i].Name], false, 0 // it is the time to make it
	}
	slices.Reverse(out)
	return out
}

// picture shows an event in the picture, and what must not be missed above it. What is noted while stages are planned waits: the plan that
// is asked about tells it where it belongs.
func (g *progress) picture(ev steps.Event) {
	g.model.Apply(ev)
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case ev.Type == steps.Diagnostic && ev.Stage != "" && !g.begun:
		g.held = append(g.held, ev)
	case g.plan:
	case ev.Type == steps.Diagnostic: // a failure is told by the stage's own line
		g.above(ev)
	case ev.Type == steps.StageStart || ev.Type == steps.Summary:
		g.begun = true
		for _, note := range g.held {
			g.above(note)
		}
		g.held = nil
	}
}

func (g *progress) above(ev steps.Event) {
	view.NewLines(g.screen, g.app.style(g.app.stderr)).Wrapped().Apply(ev)
}

// told forgets the notes of a plan that is shown.
func (g *progress) told() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = nil
}

// json writes an event as a log record of its own shape.
func (g *progress) json(ev steps.Event) {
	if g.quiet && !bad(ev) {
		return
	}
	line, err := json.Marshal(ev)
	if err == nil {
		fmt.Fprintf(g.app.stderr, "%s\n", line)
	}
}

func (g *progress) onlyBad(lines *view.Lines) func(steps.Event) {
	return func(ev steps.Event) {
		if bad(ev) {
			lines.Apply(ev)
		}
	}
}

func bad(ev steps.Event) bool {
	return ev.Type == steps.Diagnostic || ev.Type == steps.ChangeFailed
}

// handler is where the run's logs go: above the picture, if there is one.
func (g *progress) handler(verbose bool) slog.Handler {
	w := g.app.stderr
	if g.screen != nil {
		w = g.screen
	}
	o := &slog.HandlerOptions{Level: slog.LevelWarn}
	if verbose {
		o.Level = slog.LevelDebug
	}
	if g.format == "json" {
		return slog.NewJSONHandler(w, o)
	}
	o.ReplaceAttr = func(groups []string, at slog.Attr) slog.Attr {
		if at.Key == slog.TimeKey && len(groups) == 0 {
			return slog.String(slog.TimeKey, at.Value.Time().Format(time.TimeOnly))
		}
		return at
	}
	return slog.NewTextHandler(w, o)
}

// aside runs f with the terminal to itself.
func (g *progress) aside(f func()) {
	if g.screen != nil {
		g.screen.Hide()
		defer g.screen.Show()
	}
	f()
}

func (g *progress) close() {
	if g.screen != nil {
		g.screen.Close()
		g.screen = nil
	}
}

// style is what the stream w can show.
func (a *app) style(w io.Writer) view.Style {
	st := view.Detect(isTerminal(w), a.getenv)
	if f, ok := w.(*os.File); ok && isTerminal(w) {
		if width, height, err := term.GetSize(int(f.Fd())); err == nil {
			st.Width, st.Height = width, height-1
		}
	}
	return st
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// discard takes the picture away, for verbs whose result says all of it.
func (g *progress) discard() {
	if g.screen != nil {
		g.screen.Hide()
		g.screen.Close()
		g.screen = nil
	}
}
