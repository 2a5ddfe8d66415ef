// Package reconcile brings a list of declared resources into existence, and out of it again.
//
// A step declares every resource once: how to look at it, make it, mend it and remove it, and which others it needs. Plan, Apply and
// Destroy all read that one list, so they cannot drift apart. Independent resources run in parallel; a resource starts as soon as what it
// needs is ready. Nothing here knows AWS or Kubernetes, and nothing is written by Plan.
package reconcile

import (
	"context"
	"time"
)

// A Resource declares one object in terms of a step's own state S, the only mutable thing, which carries what earlier resources
// learned (IDs). A resource may read fields that resources in Needs wrote, and write fields that only it writes: then parallel runs
// need no lock.
type Resource[S any] struct {
	Kind, Name string   // "ec2:Subnet", "private-a"; together the ID, unique in the list
	Needs      []string // IDs of resources that must be ready first; they are removed after this one
	GoneFirst  []string // IDs of resources that must be gone before this one is removed, beyond those that need it
	Unless     func(*S) bool
	// Retired says that it should be there no longer: Plan and Apply remove it where it exists and is ours, and else pass it over. Its Needs
	// are what must be ready first, such as what takes its place, and other retired ones that must be gone first.
	Retired bool

	Observe func(context.Context, *S) (Status, error) // looks, by owner tag or deterministic name; may store IDs in S; never writes
	Create  func(context.Context, *S) error           // makes it; must find what an earlier, interrupted Create left
	Update  func(context.Context, *S, []string) error // mends the named drift; nil: drift is refused
	Delete  func(context.Context, *S) error           // asks for removal; nil: goes with what it needs
	Expect  time.Duration                             // usual time from Create to ready
	Gone    time.Duration                             // usual time from Delete to gone
	Timeout time.Duration                             // of either wait; default 3 x the expected time + 5 min
	Data    bool                                      // holds data: removed only with Options.WithData
}

// ID names a resource within its list.
func (r Resource[S]) ID() string { return ID(r.Kind, r.Name) }

// ID joins a kind and a name.
func ID(kind, name string) string { return kind + "/" + name }

// Status is what Observe saw.
type Status struct {
	Exists bool
	Ready  bool     // usable by what needs it; an existing resource that is not ready is waited for
	Drift  []string // what differs from the spec, as "field: have X, want Y"
	ID     string   // the service's own identifier
	ARN    string
	Detail string // the service's word for its state
	// Redo is drift that shows only once the object is being made: Apply mends it as it would any other and goes on waiting. It must
	// come to an end: what has been redone must not be named again for the same reason.
	Redo []string
	// Foreign says the object exists but is not ours: it is neither changed nor removed, and standing in our way is an error.
	Foreign bool
}

// Verb is what reconciling one resource takes.
type Verb string

// The verbs of a plan. Read is a kept resource that is not ours; Deferred one that cannot be looked at yet.
const (
	Keep   Verb = "keep"
	Create Verb = "create"
	Update Verb = "update"
	Refuse Verb = "refuse"
	Delete Verb = "delete"
)

// Change is one verb for one resource, planned or done.
type Change struct {
	Kind   string   `json:"kind"`
	Name   string   `json:"name"`
	ID     string   `json:"id,omitempty"`
	ARN    string   `json:"arn,omitempty"`
	Action Verb     `json:"action"`
	Drift  []string `json:"drift,omitempty"`
	// Fields are what differs in a Kubernetes object, and Objects what differs in those that an Argo CD Application consists of: what
	// Drift says to people, for programs. Only plans have them, and only where the fields are known.
	Fields  []FieldChange  `json:"fields,omitempty"`
	Objects []ObjectChange `json:"objects,omitempty"`
	// Unfinished says that it was begun and its end not seen: what is being made is there and costs money, what is being deleted may
	// still be there. The engine sets it, in results.
	Unfinished bool `json:"unfinished,omitempty"`
	// DurationSeconds is how long the work on it took, and Error why it failed. The engine sets both, in results.
	DurationSeconds float64 `json:"durationSeconds,omitempty"`
	Error           string  `json:"error,omitempty"`
}

// FieldChange is one field of a Kubernetes object that is not as it would be.
type FieldChange struct {
	Path string `json:"path"` // such as spec.template.spec.containers[0].image
	// Before and After are the field's JSON values; one that is left out is not there, or is null.
	Before any `json:"before,omitempty"`
	After  any `json:"after,omitempty"`
	// Hidden says that the values are those of a Secret, and left out.
	Hidden bool `json:"hidden,omitempty"`
	// Long says that a value is longer than 4096 bytes as JSON, and both are left out.
	Long bool `json:"long,omitempty"`
}

// ObjectChange is what a sync would do to one Kubernetes object.
type ObjectChange struct {
	Group     string        `json:"group,omitempty"`
	Kind      string        `json:"kind"`
	Namespace string        `json:"namespace,omitempty"`
	Name      string        `json:"name"`
	Action    Verb          `json:"action"`
	Fields    []FieldChange `json:"fields,omitempty"` // none where they are not known, and of what is made or removed
}

// Phase says how far the work on one resource is.
type Phase string

// The phases in order; Wait may repeat.
const (
	Start  Phase = "start"
	Wait   Phase = "wait"
	Done   Phase = "done"
	Failed Phase = "failed"
)

// Progress reports work on one resource while it happens. Durations are those of the world worked on.
type Progress struct {
	Change
	Phase   Phase
	Detail  string
	Elapsed time.Duration
	Expect  time.Duration
	Speed   float64 // how many times faster than real Elapsed and Expect run; zero means 1
	Err     error
	Undone  bool // of Failed: what had been begun was taken back, nothing is left of it
}

// Options tunes a run over a list.
type Options struct {
	Speed    float64        // see wait.Options
	Parallel int            // at most this many at once; zero: 16
	Report   func(Progress) // may be called from many goroutines; nil: silent
	WithData bool           // Destroy also removes resources that hold data
}

func (o Options) report(p Progress) {
	if o.Report != nil {
		o.Report(p)
	}
}

func (o Options) parallel() int {
	if o.Parallel <= 0 {
		return 16
	}
	return o.Parallel
}
