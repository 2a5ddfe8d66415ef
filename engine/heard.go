package engine

import (
	"slices"

	"pipectl.dev/steps"
)

// heard takes an event from a step: it goes to the listeners and into the result. A note that was heard before is passed over: a stage
// may be planned several times.
func (x *run) heard(st *state, ev steps.Event) {
	x.mu.Lock()
	if st.done || ev.Type == steps.Diagnostic && slices.Contains(st.notes, ev.Message) {
		x.mu.Unlock()
		return
	}
	switch {
	case ev.Type == steps.Diagnostic:
		st.notes = append(st.notes, ev.Message)
	case ev.Change != nil:
		c := *ev.Change
		switch ev.Type {
		case steps.ChangeDone:
			c.DurationSeconds = ev.ElapsedSeconds
			delete(st.failed, c.Kind+"/"+c.Name)
		case steps.ChangeFailed:
			bad := c
			bad.DurationSeconds, bad.Error = ev.ElapsedSeconds, x.redact.String(ev.Message)
			st.failed[c.Kind+"/"+c.Name] = bad
		}
		st.take(ev, c)
	}
	x.mu.Unlock()
	x.say(st, ev)
}

// take keeps how far a change is, for the result.
func (st *state) take(ev steps.Event, c steps.Change) {
	key := c.Kind + "/" + c.Name
	old, seen := st.progress[key]
	if !seen && (ev.Type == steps.ChangeStart || ev.Type == steps.ChangeDone) {
		st.order = append(st.order, key)
	}
	switch ev.Type {
	case steps.ChangeStart:
		if !seen || old.Action == "keep" {
			c.Unfinished = true
			st.progress[key], st.begun[key] = c, false
		}
	case steps.ChangeProgress: // its call came back, so there is something
		if _, open := st.begun[key]; open {
			st.begun[key] = true
		}
	case steps.ChangeFailed:
		if made, open := st.begun[key]; open && (!made || ev.Undone) {
			delete(st.progress, key)
			delete(st.begun, key)
		}
	case steps.ChangeDone:
		if !seen || old.Unfinished || old.Action == "keep" { // a retry keeps what the attempt before it made
			if old.Unfinished && c.Action == "keep" {
				c.Action = old.Action
			}
			st.progress[key] = c
			delete(st.begun, key)
		}
	}
}

// say records an event of a stage.
func (x *run) say(st *state, ev steps.Event) {
	ev.Stage, ev.Step = st.stage.Name, st.stage.Definition.Name
	x.stream.record(ev)
}

func (x *run) warn(text string) {
	x.mu.Lock()
	again := slices.Contains(x.warnings, text)
	if !again {
		x.warnings = append(x.warnings, text)
	}
	x.mu.Unlock()
	if again {
		return
	}
	x.stream.record(steps.Event{Type: steps.Diagnostic, Message: text})
}
