package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"pipectl.dev/cmd/pipectl/report"
	"pipectl.dev/engine"
	"pipectl.dev/results/sinks"
	"pipectl.dev/steps"
)

// Where a run in a pod finds what Kubernetes and Tekton give it, unless the environment names another place.
const (
	terminationLog   = "/dev/termination-log"
	terminationLimit = 4096 // bytes that Kubernetes keeps
	tektonResults    = "/tekton/results"
)

// reports are the files that a run writes besides its results: where a flag asks, and where the surroundings offer a place.
type reports struct {
	app    *app
	c      *cli.Context
	record func(steps.Event)
	events *engine.EventWriter
	file   *os.File
	seen   []steps.Event // for the HTML report
}

func (a *app) openReports(c *cli.Context) (*reports, error) {
	s := &reports{app: a, c: c}
	var events, memory func(steps.Event)
	if name := c.String("events"); name != "" {
		f, err := os.Create(name)
		if err != nil {
			return nil, &steps.Error{Code: "BadUsage", Category: steps.BadInput, Message: "--events", Err: err}
		}
		s.file, s.events = f, engine.NewEventWriter(f)
		events = s.events.Record
	}
	if c.String("report") != "" {
		memory = func(ev steps.Event) { s.seen = append(s.seen, ev) }
	}
	s.record = engine.Tee(events, memory)
	return s, nil
}

// finish writes all of them. One that cannot be written does not change how the run ended; it is told beside that.
func (s *reports) finish(r *engine.RunResult) error {
	var errs []error
	flagged := func(name string, draw func(io.Writer) error) {
		if file := s.c.String(name); file != "" {
			if err := write(file, os.O_TRUNC, draw); err != nil {
				errs = append(errs, fmt.Errorf("--%s: %w", name, err))
			}
		}
	}
	if s.file != nil {
		errs = append(errs, s.events.Err(), s.file.Close())
	}
	flagged("report", func(w io.Writer) error { return report.HTML(w, s.seen) })
	flagged("junit", func(w io.Writer) error { return sinks.JUnit(w, r) })
	flagged("summary", func(w io.Writer) error { return sinks.Markdown(w, r) })
	flagged("dotenv", func(w io.Writer) error { return sinks.Dotenv(w, r) })
	return errors.Join(append(errs, s.surroundings(r)...)...)
}

// surroundings writes what the place that pipectl runs in would like to know.
func (s *reports) surroundings(r *engine.RunResult) []error {
	var errs []error
	if file := s.app.getenv("GITHUB_OUTPUT"); file != "" {
		errs = append(errs, write(file, os.O_APPEND, func(w io.Writer) error { return sinks.GitHubOutput(w, r) }))
	}
	if isDir(tektonResults) {
		errs = append(errs, sinks.Tekton(tektonResults, r))
	}
	file := s.app.terminationFile()
	if file == "" {
		return errs
	}
	message, err := sinks.Termination(r, terminationLimit)
	if err != nil {
		return append(errs, err)
	}
	// Best effort: a pod may have turned it off, and the result is on stdout as well.
	_ = os.WriteFile(file, message, 0o644)
	s.app.told = true
	return errs
}

func isDir(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

func write(name string, mode int, draw func(io.Writer) error) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|mode, 0o644)
	if err != nil {
		return err
	}
	if err := draw(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
