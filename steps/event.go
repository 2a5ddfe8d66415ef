package steps

import "time"

// EventVersion is the version of the event stream; its first line says so. A minor addition keeps it, a breaking change does not.
const EventVersion = "1.0"

// EventType says what an event tells.
type EventType string

// The event types. Every stream starts with Version and ends with Summary.
const (
	Version        EventType = "version"
	RunStart       EventType = "run_start"
	StagePlanned   EventType = "stage_planned"
	StageStart     EventType = "stage_start"
	ChangeStart    EventType = "change_start"
	ChangeProgress EventType = "change_progress"
	ChangeDone     EventType = "change_done"
	ChangeFailed   EventType = "change_failed"
	Waiting        EventType = "waiting"    // heartbeat, at least every 30 s of a wait
	Diagnostic     EventType = "diagnostic" // a warning or note for people
	Checked        EventType = "checked"    // a preflight has looked at something
	Output         EventType = "output"
	StageDone      EventType = "stage_done"
	Summary        EventType = "summary"
)

// Event is one fact about a run, one JSON line. Seq counts from 1 without gaps, so a reader can see that nothing is missing.
type Event struct {
	Seq            int64     `json:"seq"`
	Time           time.Time `json:"time"`
	Type           EventType `json:"type"`
	RunID          string    `json:"runId,omitempty"`
	Stage          string    `json:"stage,omitempty"`
	Step           string    `json:"step,omitempty"`
	Status         Status    `json:"status,omitempty"`
	Change         *Change   `json:"change,omitempty"`
	Message        string    `json:"message,omitempty"`
	ElapsedSeconds float64   `json:"elapsedSeconds,omitempty"`
	ExpectSeconds  float64   `json:"expectSeconds,omitempty"`
	Speed          float64   `json:"speed,omitempty"`   // how many times faster than real the clock of these two runs: above 1 for waits on a rehearsal's cloud
	Undone         bool      `json:"undone,omitempty"`  // of a failed change: what had been begun was taken back
	Version        string    `json:"version,omitempty"` // of the stream, in Version events
	Data           any       `json:"data,omitempty"`    // of Output, Checked, StagePlanned and Summary events
}
