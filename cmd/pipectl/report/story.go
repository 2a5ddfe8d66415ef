package report

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"pipectl.dev/engine"
	"pipectl.dev/steps"
)

// story is a run, arranged for the page.
type story struct {
	Title   string
	RunID   string
	Began   time.Time
	Took    time.Duration
	Cloud   time.Duration // how long it would have taken with the cloud at its real pace; zero outside of a rehearsal
	Status  steps.Status
	Good    bool
	Counts  steps.Counts
	Cost    *steps.Cost
	Outputs []output
	Stages  []*stage
	Notes   []note
	Errors  []engine.StageError
	Ticks   []tick
}

type stage struct {
	Name, Step string
	Status     steps.Status
	Good       bool
	Open       bool // shows its resources at once: it failed, or took longest
	Message    string
	From, To   time.Time
	begun      bool
	Left, Wide float64 // of the whole run
	Took       time.Duration
	Bars       []*bar
	index      map[string]*bar
}

// bar is one resource in time.
type bar struct {
	Kind, Name, ID string
	Action         steps.Verb
	Failed         bool
	From, To       time.Time
	Left, Wide     float64
	Took           time.Duration
	Message        string
}

type note struct {
	Stage, Text string
	At          time.Time
}

type output struct{ Name, Value string }

type tick struct {
	Left float64
	Text string
}

func collect(events []steps.Event) *story {
	s := &story{Title: "run"}
	byName := map[string]*stage{}
	get := func(ev steps.Event) *stage {
		st := byName[ev.Stage]
		if st == nil {
			st = &stage{Name: ev.Stage, Step: ev.Step, From: ev.Time, index: map[string]*bar{}}
			byName[ev.Stage] = st
			s.Stages = append(s.Stages, st)
		}
		return st
	}
	for _, ev := range events {
		if s.Began.IsZero() || ev.Time.Before(s.Began) {
			s.Began = ev.Time
		}
		s.Took = max(s.Took, ev.Time.Sub(s.Began))
		s.take(ev, get)
	}
	s.arrange()
	return s
}

func (s *story) take(ev steps.Event, get func(steps.Event) *stage) {
	switch ev.Type {
	case steps.RunStart:
		s.RunID = ev.RunID
		if ev.Message != "" {
			s.Title = ev.Message
		}
	case steps.StageStart:
		if st := get(ev); !st.begun { // down begins twice: to let go, and to remove
			st.From, st.begun = ev.Time, true
		}
	case steps.StageDone:
		st := get(ev)
		st.Status, st.Good, st.Message, st.To = ev.Status, good(ev.Status), ev.Message, ev.Time
	case steps.ChangeStart, steps.ChangeProgress, steps.ChangeDone, steps.ChangeFailed:
		if ev.Change != nil {
			get(ev).change(ev, &s.Counts)
		}
	case steps.Diagnostic:
		s.Notes = append(s.Notes, note{ev.Stage, ev.Message, ev.Time})
	case steps.Summary:
		s.summary(ev)
	}
}

func (st *stage) change(ev steps.Event, counts *steps.Counts) {
	key := ev.Change.Kind + "/" + ev.Change.Name
	b := st.index[key]
	if b == nil {
		b = &bar{Kind: ev.Change.Kind, Name: ev.Change.Name, From: ev.Time, Action: ev.Change.Action}
		st.index[key] = b
		st.Bars = append(st.Bars, b)
	}
	b.To, b.ID = ev.Time, ev.Change.ID
	switch ev.Type {
	case steps.ChangeDone:
		counts.Add(ev.Change.Action)
		b.Action = ev.Change.Action
	case steps.ChangeFailed:
		b.Failed, b.Message = true, ev.Message
	}
}

// summary takes the run's own result, which the last event carries.
func (s *story) summary(ev steps.Event) {
	s.Status = ev.Status
	raw, err := json.Marshal(ev.Data)
	if err != nil {
		return
	}
	var r engine.RunResult
	if json.Unmarshal(raw, &r) != nil || r.Pipeline == "" {
		return
	}
	s.Title = r.Verb + " " + r.Pipeline
	if r.Identity != "" {
		s.Title += " · " + r.Identity
	}
	if r.Status != "" {
		s.Status = r.Status
	}
	s.RunID, s.Errors, s.Counts = r.RunID, r.Errors, r.Changes // what stages kept that were skipped is in the result only
	s.Cloud = time.Duration(r.SimulatedSeconds * float64(time.Second))
	if r.Cost != nil {
		s.Cost = r.Cost
	}
	for name, value := range r.Outputs {
		text := string(value)
		var str string
		if json.Unmarshal(value, &str) == nil {
			text = str
		}
		s.Outputs = append(s.Outputs, output{name, text})
	}
	slices.SortFunc(s.Outputs, func(a, b output) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
}

// arrange turns times into places on the page.
func (s *story) arrange() {
	s.Good = good(s.Status)
	total := max(s.Took, time.Millisecond)
	place := func(from, to time.Time) (left, wide float64, took time.Duration) {
		took = max(to.Sub(from), 0)
		left = float64(from.Sub(s.Began)) / float64(total)
		return left, max(float64(took)/float64(total), 0.002), took
	}
	end := s.Began.Add(s.Took)
	for _, st := range s.Stages {
		if st.To.IsZero() {
			st.To = end // the run was cut off
		}
		st.Left, st.Wide, st.Took = place(st.From, st.To)
		st.Bars = slices.DeleteFunc(st.Bars, func(b *bar) bool { return b.Action == "keep" })
		for _, b := range st.Bars {
			b.Left, b.Wide, b.Took = place(b.From, b.To)
		}
	}
	var longest *stage
	for _, st := range s.Stages {
		st.Open = !st.Good
		if longest == nil || st.Took > longest.Took {
			longest = st
		}
	}
	if longest != nil {
		longest.Open = true
	}
	s.Ticks = ticks(total)
}

// ticks are round times, at most ten of them.
func ticks(total time.Duration) []tick {
	var out []tick
	for _, step := range []time.Duration{time.Second, 5 * time.Second, 15 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour} {
		if total/step <= 10 {
			for at := time.Duration(0); at <= total; at += step {
				out = append(out, tick{float64(at) / float64(total), label(at)})
			}
			return out
		}
	}
	return nil
}

func label(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%d s", int(d/time.Second))
	}
	return fmt.Sprintf("%d:%02d", int(d/time.Minute), int(d/time.Second)%60)
}

func good(s steps.Status) bool {
	return s == steps.Succeeded || s == steps.Skipped || s == steps.Planned || s == steps.Destroyed
}
