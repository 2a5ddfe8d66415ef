// Package view draws a run for people: a live picture on a terminal, plain lines in a pipe, the plan before it and the summary after.
//
// Everything is drawn from the engine's events alone, so what is seen live, in a log and in the HTML report is the same. It must not
// decide anything, call a cloud or write to any stream but the one it is given.
package view

import (
	"cmp"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"pipectl.dev/engine"
	"pipectl.dev/steps"
)

// Stage says what is known of a stage before it runs.
type Stage struct {
	Name     string
	Step     string
	Needs    []string
	Expect   time.Duration // as its step usually takes, until its plan says more; zero: not known
	Changes  int           // planned, keeps not counted
	Deferred bool          // planned again once its inputs are known
	Asks     bool          // confirm: ask
	Cloud    bool          // its step works on the cloud, whose clock a rehearsal hurries
}

// Model is the state of a run as told by its events. It is safe for concurrent use.
type Model struct {
	mu     sync.Mutex
	Title  string  // pipeline and where it runs
	Verb   string  // run, down, destroy
	Speed  float64 // how many times faster than real the cloud runs; 1 but in a rehearsal
	began  time.Time
	ended  time.Time
	stages []*stage
	notes  []string
}

// stage is a Stage with what happened to it.
type stage struct {
	Stage
	status  steps.Status // "" pending, running while it runs
	began   time.Time
	ended   time.Time
	counts  steps.Counts
	work    []*work
	message string  // what a wait or the end said
	hourly  float64 // USD
	hurried bool    // a wait of it ran on a rehearsal's clock
	plain   bool    // a wait of it ran on the real clock
}

const running steps.Status = "running"

// work is one resource being worked on, or one wait.
type work struct {
	change  steps.Change
	detail  string
	elapsed time.Duration // on its own clock, at the moment seen
	expect  time.Duration
	speed   float64 // how many times faster than real that clock runs
	seen    time.Time
}

// NewModel starts a picture of stages in the order given.
func NewModel(title, verb string, stages []Stage) *Model {
	m := &Model{Title: title, Verb: verb, Speed: 1}
	for _, s := range stages {
		m.stages = append(m.stages, &stage{Stage: s})
	}
	return m
}

// Planned takes in what a plan found out about a stage.
func (m *Model) Planned(p engine.StagePlan) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.planned(p)
}

func (m *Model) planned(p engine.StagePlan) {
	s := m.stage(p.Stage, p.Step)
	if m.Verb != "run" { // what is forecast is the making of it
		s.Changes = 0
		return
	}
	s.Changes = p.Counts.Create + p.Counts.Update + p.Counts.Delete
	s.Deferred = p.State == engine.IsDeferred
	if p.Forecast.Cost != nil {
		s.hourly = p.Forecast.Cost.HourlyUSD
	}
	switch {
	case p.State == engine.AllKeep || p.State == engine.WhenFalse:
		s.Expect = 0
	case p.Forecast.Seconds > 0:
		s.Expect = seconds(p.Forecast.Seconds)
	}
}

// hourly is what all of it costs once it stands, in USD, and whether some stage may yet add to that.
func (m *Model) hourly() (usd float64, atLeast bool) {
	for _, s := range m.stages {
		usd += s.hourly
		atLeast = atLeast || s.Deferred
	}
	return usd, atLeast
}

// Apply takes in one event.
func (m *Model) Apply(ev steps.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.began.IsZero() {
		m.began = ev.Time
	}
	switch ev.Type {
	case steps.Summary:
		m.ended = ev.Time
	case steps.StageStart:
		s := m.stage(ev.Stage, ev.Step)
		if s.began.IsZero() {
			s.began = ev.Time
		}
		s.status, s.message, s.ended, s.work = running, ev.Message, time.Time{}, nil
	case steps.StageDone:
		s := m.stage(ev.Stage, ev.Step)
		s.status, s.ended, s.work, s.message = ev.Status, ev.Time, nil, ev.Message
		if s.began.IsZero() {
			s.began = ev.Time
		}
	case steps.ChangeStart, steps.ChangeProgress, steps.Waiting:
		m.stage(ev.Stage, ev.Step).progress(ev)
	case steps.ChangeDone, steps.ChangeFailed:
		m.stage(ev.Stage, ev.Step).finish(ev)
	case steps.Diagnostic:
		m.notes = append(m.notes, ev.Message)
	case steps.StagePlanned:
		if p, ok := planOf(ev); ok {
			m.planned(p)
		}
	}
}

// planOf reads the plan that an event carries, whether it comes from the engine or from a file.
func planOf(ev steps.Event) (engine.StagePlan, bool) {
	var p engine.StagePlan
	if typed, ok := ev.Data.(engine.StagePlan); ok {
		return typed, true
	}
	raw, err := json.Marshal(ev.Data)
	if err != nil || json.Unmarshal(raw, &p) != nil || p.Stage == "" {
		return p, false
	}
	return p, true
}

func (m *Model) stage(name, step string) *stage {
	for _, s := range m.stages {
		if s.Name == name {
			return s
		}
	}
	s := &stage{Stage: Stage{Name: name, Step: step}}
	if name != "" { // an event of the run itself belongs to no stage
		m.stages = append(m.stages, s)
	}
	return s
}

func (s *stage) progress(ev steps.Event) {
	c := steps.Change{}
	if ev.Change != nil {
		c = *ev.Change
	}
	w := s.find(c)
	if w == nil {
		w = &work{change: c}
		s.work = append(s.work, w)
	}
	w.detail, w.seen = ev.Message, ev.Time
	w.elapsed, w.expect, w.speed = seconds(ev.ElapsedSeconds), seconds(ev.ExpectSeconds), max(ev.Speed, 1)
	s.hurried, s.plain = s.hurried || ev.Speed > 1, s.plain || ev.Speed <= 1
}

func (s *stage) finish(ev steps.Event) {
	if ev.Change == nil {
		return
	}
	if ev.Type == steps.ChangeDone {
		s.counts.Add(ev.Change.Action)
	}
	s.work = slices.DeleteFunc(s.work, func(w *work) bool { return same(w.change, *ev.Change) })
}

func (s *stage) find(c steps.Change) *work {
	for _, w := range s.work {
		if same(w.change, c) {
			return w
		}
	}
	return nil
}

func same(a, b steps.Change) bool { return a.Kind == b.Kind && a.Name == b.Name }

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// age is how long w has taken at now, on its own clock.
func (w *work) age(now time.Time) time.Duration {
	since := now.Sub(w.seen)
	if since < 0 {
		since = 0
	}
	return w.elapsed + time.Duration(float64(since)*w.speed)
}

// left is how long w should still take, in real time.
func (w *work) left(now time.Time) time.Duration {
	return time.Duration(float64(w.expect-w.age(now)) / max(w.speed, 1))
}

// done reports whether the stage has ended, however.
func (s *stage) done() bool { return s.status != "" && s.status != running }

// took is the stage's time so far.
func (s *stage) took(now time.Time) time.Duration {
	switch {
	case s.began.IsZero():
		return 0
	case s.ended.IsZero():
		return now.Sub(s.began)
	default:
		return s.ended.Sub(s.began)
	}
}

// real is the real time that a stage is expected to take. A rehearsal hurries what is waited for of the cloud: which stages that is shows
// only once they wait, before that it is guessed by their steps.
func (s *stage) real(speed float64) time.Duration {
	if s.hurried || s.Cloud && !s.plain {
		return time.Duration(float64(s.Expect) / speed)
	}
	return s.Expect
}

// share is how much of a running stage is done by time: it never claims the end before the end.
func (s *stage) share(now time.Time, speed float64) float64 {
	if s.done() {
		return 1
	}
	if s.Expect <= 0 || s.status != running {
		return 0
	}
	return min(float64(s.took(now))/float64(s.real(speed)), 0.97)
}

// Left is the time to the end along the longest path of stages, and whether it is only a lower bound because some stage's time is not
// known yet.
func (m *Model) Left(now time.Time) (left time.Duration, atLeast bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.left(now)
}

func (m *Model) left(now time.Time) (left time.Duration, atLeast bool) {
	finish := map[string]time.Duration{}
	var visit func(s *stage) time.Duration
	visit = func(s *stage) time.Duration {
		if d, ok := finish[s.Name]; ok {
			return d
		}
		finish[s.Name] = 0 // a cycle cannot be loaded; this only guards the drawing
		var after time.Duration
		for _, n := range s.Needs {
			if up := m.byName(n); up != nil {
				after = max(after, visit(up))
			}
		}
		finish[s.Name] = after + s.remaining(now, m.Speed)
		return finish[s.Name]
	}
	for _, s := range m.stages {
		left = max(left, visit(s))
		atLeast = atLeast || (!s.done() && s.Expect == 0 && (s.Deferred || s.Changes > 0 || m.Verb != "run"))
	}
	return left, atLeast
}

func (m *Model) byName(name string) *stage {
	i := slices.IndexFunc(m.stages, func(s *stage) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return m.stages[i]
}

// waits lists what s still waits for, without what another of them waits for itself.
func (m *Model) waits(s *stage) []string {
	var open []*stage
	for _, n := range s.Needs {
		if up := m.byName(n); up != nil && !up.done() {
			open = append(open, up)
		}
	}
	var out []string
	for _, a := range open {
		implied := slices.ContainsFunc(open, func(b *stage) bool { return a != b && m.behind(b, a.Name, map[string]bool{}) })
		if !implied {
			out = append(out, a.Name)
		}
	}
	return out
}

// behind reports whether s waits for the stage named, directly or not.
func (m *Model) behind(s *stage, name string, seen map[string]bool) bool {
	for _, n := range s.Needs {
		if n == name {
			return true
		}
		if up := m.byName(n); up != nil && !seen[n] {
			seen[n] = true
			if m.behind(up, name, seen) {
				return true
			}
		}
	}
	return false
}

func (s *stage) remaining(now time.Time, speed float64) time.Duration {
	expect := s.real(speed)
	switch {
	case s.done():
		return 0
	case s.status == running:
		left := expect - s.took(now)
		for _, w := range s.work { // what is being worked on knows better
			left = max(left, w.left(now))
		}
		return max(left, 0)
	default:
		return expect
	}
}

// byUrgency orders work so that what holds the run up longest stands first.
func byUrgency(ws []*work, now time.Time) []*work {
	out := slices.Clone(ws)
	slices.SortStableFunc(out, func(a, b *work) int {
		return cmp.Compare(b.left(now), a.left(now))
	})
	return out
}

// counts is the sum over all stages.
func (m *Model) counts() steps.Counts {
	var c steps.Counts
	for _, s := range m.stages {
		c.Create += s.counts.Create
		c.Update += s.counts.Update
		c.Delete += s.counts.Delete
		c.Keep += s.counts.Keep
	}
	return c
}
