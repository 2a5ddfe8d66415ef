package syncargocd

import (
	"context"
	"fmt"
	"sync"
	"time"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"
	"github.com/robfig/cron/v3"

	"pipectl.dev/steps"
)

// projects is a way to Argo CD that remembers sync windows for a moment: many Applications of one project are synced at once.
type projects struct {
	transport

	mu    sync.Mutex
	known map[string]*projectWindows
}

type projectWindows struct {
	mu  sync.Mutex // held while it is read
	all argo.SyncWindows
	at  time.Time
}

// remember is how long windows are believed. Argo CD itself looks once more when it syncs.
const remember = 5 * time.Second

func (p *projects) windows(ctx context.Context, name string) (argo.SyncWindows, error) {
	p.mu.Lock()
	one := p.known[name]
	if one == nil {
		one = &projectWindows{}
		p.known[name] = one
	}
	p.mu.Unlock()
	one.mu.Lock()
	defer one.mu.Unlock()
	if time.Since(one.at) < remember {
		return one.all, nil
	}
	all, err := p.transport.windows(ctx, name)
	if err == nil {
		one.all, one.at = all, time.Now()
	}
	return all, err
}

// blocked is why an Application may not be synced now, nil where it may; and apart from that what kept us from knowing.
func blocked(ctx context.Context, via transport, app *argo.Application) (why, err error) {
	windows, err := via.windows(ctx, app.Spec.GetProject())
	if err != nil {
		return nil, err
	}
	return closed(matching(windows, app), app.Spec.GetProject(), time.Now()), nil
}

// matching are a project's sync windows that apply to an Application.
func matching(all argo.SyncWindows, app *argo.Application) argo.SyncWindows {
	if m := all.Matches(app); m != nil {
		return *m
	}
	return nil
}

// closed is the error for a sync at now, nil when windows allow one. It says when they next will.
func closed(windows argo.SyncWindows, project string, now time.Time) error {
	open, err := allowed(windows, now)
	if err != nil {
		return &steps.Error{Code: "WindowInvalid", Category: steps.Precondition, Message: "sync windows of project " + project, Err: err}
	}
	if open {
		return nil
	}
	hint := "it does not open within a year: ask who keeps the project"
	when := ""
	if at, found := opens(windows, now); found {
		when = ", which opens at " + at.UTC().Format(time.RFC3339)
		hint = "run again then; `manualSync: true` in the window would let a sync by hand through"
	}
	return &steps.Error{Code: codeWindow, Category: steps.Approval, Message: "sync is blocked by a sync window of project " + project + when, Hints: []string{hint}}
}

const codeWindow = "BlockedByWindow"

// span is a window with its schedule read.
type span struct {
	argo.SyncWindow
	schedule cron.Schedule
	duration time.Duration
	offset   time.Duration // of its time zone, as Argo CD counts it: that of now, all year
}

func spans(windows argo.SyncWindows, now time.Time) ([]span, error) {
	parser := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)
	var out []span
	for _, w := range windows {
		schedule, err := parser.Parse(w.Schedule)
		if err != nil {
			return nil, fmt.Errorf("schedule %q: %w", w.Schedule, err)
		}
		duration, err := time.ParseDuration(w.Duration)
		if err != nil {
			return nil, fmt.Errorf("duration %q: %w", w.Duration, err)
		}
		s := span{SyncWindow: *w, schedule: schedule, duration: duration}
		if zone, err := time.LoadLocation(w.TimeZone); err == nil { // a wrong one is UTC to Argo CD
			_, seconds := now.In(zone).Zone()
			s.offset = time.Duration(seconds) * time.Second
		}
		out = append(out, s)
	}
	return out, nil
}

func (s span) active(t time.Time) bool {
	local := t.UTC().Add(s.offset)
	return s.schedule.Next(local.Add(-s.duration)).Before(local)
}

const year = 366 * 24 * time.Hour

// flips is when the window's state next changes after t: its next start, or its end, of which overlapping ones are one.
func (s span) flips(t time.Time) time.Time {
	local := t.UTC().Add(s.offset)
	if !s.active(t) {
		return s.schedule.Next(local).Add(-s.offset)
	}
	began := s.schedule.Next(local.Add(-s.duration))
	end := began.Add(s.duration)
	for {
		began = s.schedule.Next(began)
		if began.IsZero() || began.After(end) || end.Sub(local) > year {
			return end.Add(-s.offset)
		}
		end = began.Add(s.duration)
	}
}

// allowed says whether a sync asked for by hand is let through at t, by Argo CD's rules: an active deny window forbids, unless all of
// them let manual syncs through; an active allow window allows; else any inactive allow window forbids, with the same exception.
func allowed(windows argo.SyncWindows, t time.Time) (bool, error) {
	all, err := spans(windows, t)
	if err != nil {
		return false, err
	}
	return allows(all, t), nil
}

func allows(all []span, t time.Time) bool {
	var denied, denyManual, allowing, waiting, waitManual = false, true, false, false, true
	for _, s := range all {
		active := s.active(t)
		switch {
		case s.Kind == "deny" && active:
			denied, denyManual = true, denyManual && s.ManualSync
		case s.Kind == "allow" && active:
			allowing = true
		case s.Kind == "allow":
			waiting, waitManual = true, waitManual && s.ManualSync
		}
	}
	switch {
	case denied:
		return denyManual
	case allowing:
		return true
	default:
		return !waiting || waitManual
	}
}

// opens is the first time after now at which a sync is let through; found is false if there is none within a year.
func opens(windows argo.SyncWindows, now time.Time) (at time.Time, found bool) {
	all, err := spans(windows, now)
	if err != nil || len(all) == 0 {
		return time.Time{}, false
	}
	const tick = time.Second // a window is active after its start, not at it
	for t := now; t.Sub(now) <= year; {
		next := all[0].flips(t)
		for _, s := range all[1:] {
			if n := s.flips(t); n.Before(next) {
				next = n
			}
		}
		if next.IsZero() || !next.After(t.Add(-tick)) {
			break
		}
		if t = next.Add(tick); allows(all, t) && t.Sub(now) <= year {
			return next, true
		}
	}
	return time.Time{}, false
}
