package engine

import (
	"encoding/json"
	"io"
	"sync"
	"time"

	"pipectl.dev/steps"
)

// EventWriter writes events as NDJSON. It is safe for concurrent use.
type EventWriter struct {
	mu  sync.Mutex
	w   io.Writer
	err error
}

// NewEventWriter returns a writer of NDJSON to w. The first event of every run is the version of the stream.
func NewEventWriter(w io.Writer) *EventWriter { return &EventWriter{w: w} }

// Record writes one event; it fits Runner.Record.
func (e *EventWriter) Record(ev steps.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return
	}
	raw, err := json.Marshal(ev)
	if err == nil {
		_, err = e.w.Write(append(raw, '\n'))
	}
	e.err = err
}

// Err returns the first error of a write: a full disk does not stop a run.
func (e *EventWriter) Err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

// Tee passes every event to each sink in turn.
func Tee(sinks ...func(steps.Event)) func(steps.Event) {
	return func(ev steps.Event) {
		for _, s := range sinks {
			if s != nil {
				s(ev)
			}
		}
	}
}

// stream numbers, dates and redacts events, and passes them on one at a time.
type stream struct {
	mu     sync.Mutex
	seq    int64
	runID  string
	redact *Redactor
	sink   func(steps.Event)
}

func (s *stream) record(ev steps.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	ev.Seq, ev.RunID = s.seq, s.runID
	if ev.Time.IsZero() {
		ev.Time = time.Now().UTC()
	}
	if s.sink == nil {
		return
	}
	kept := ev
	if ev = s.redact.event(ev); ev.Seq == 0 { // nothing of it could be kept: the sequence must not have a gap
		ev = steps.Event{Seq: kept.Seq, RunID: kept.RunID, Time: kept.Time, Type: kept.Type, Stage: kept.Stage, Step: kept.Step}
	}
	s.sink(ev)
}
