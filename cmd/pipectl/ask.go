package main

import (
	"bufio"
	"context"
	"fmt"
	"strings"

	"pipectl.dev/cmd/pipectl/view"
	"pipectl.dev/engine"
)

// someone reports whether a person is there to be asked.
func (a *app) someone() bool { return isTerminal(a.stdin) && isTerminal(a.stderr) }

// confirm asks a person on the terminal; questions do not overlap, since the engine asks one at a time.
func (a *app) confirm(g *progress) func(context.Context, engine.Question) (bool, error) {
	return func(ctx context.Context, q engine.Question) (yes bool, err error) {
		if q.Plan != nil {
			g.planned(q.Plan)
		}
		g.aside(func() {
			a.tell(q)
			yes, err = a.answer(ctx)
		})
		return yes, err
	}
}

// tell writes what there is to know before the answer.
func (a *app) tell(q engine.Question) {
	st := a.style(a.stderr)
	fmt.Fprintln(a.stderr)
	switch q.Kind {
	case engine.AskPlan:
		view.Plan(a.stderr, q.Plan, st)
		fmt.Fprint(a.stderr, "\n Do it? [y/N] ")
	case engine.AskStage:
		view.Ask(a.stderr, q.Stage, q.Text, st)
		fmt.Fprintf(a.stderr, "\n Start %s? [y/N] ", q.Stage)
	case engine.AskDestroy:
		view.Ask(a.stderr, "destroy", q.Text, st)
		fmt.Fprint(a.stderr, "\n Remove all of it, data too? [y/N] ")
	default:
		if q.Plan != nil {
			view.Down(a.stderr, q.Plan, st)
		}
		view.Ask(a.stderr, "down", q.Text, st)
		fmt.Fprint(a.stderr, "\n Remove all but the data? [y/N] ")
	}
}

// answer reads one line; only a clear yes is one. A cancelled context ends the wait for it.
func (a *app) answer(ctx context.Context) (bool, error) {
	type reply struct {
		line string
		err  error
	}
	got := make(chan reply, 1)
	go func() {
		line, err := bufio.NewReader(a.stdin).ReadString('\n')
		got <- reply{line, err}
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(a.stderr)
		return false, context.Cause(ctx)
	case r := <-got:
		if r.err != nil && r.line == "" {
			return false, nil // end of input is not a yes
		}
		word := strings.ToLower(strings.TrimSpace(r.line))
		return word == "y" || word == "yes", nil
	}
}

// planned tells the picture what the plan knows.
func (g *progress) planned(p *engine.PlanReport) {
	for _, s := range p.Stages {
		g.model.Planned(s)
	}
	g.told()
}
