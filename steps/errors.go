package steps

import (
	"context"
	"errors"

	"pipectl.dev/steps/reconcile"
	"pipectl.dev/steps/spec"
	"pipectl.dev/steps/wait"
)

// Category is the kind of an error. It decides the exit code, and what a Jenkinsfile or a hook does about it.
type Category string

// The categories.
const (
	Internal     Category = "bug"          // ours
	BadInput     Category = "input"        // the file, a flag, a parameter
	Precondition Category = "precondition" // the world is not as it must be
	Quota        Category = "quota"
	Credentials  Category = "credentials"
	Permission   Category = "permission"
	Conflict     Category = "conflict" // locked, or somebody else's
	Approval     Category = "approval" // waits for a person, a window, a policy
	Transient    Category = "transient"
	Timeout      Category = "timeout"
	Partial      Category = "partial" // partly failed, leftovers
	Unhealthy    Category = "unhealthy"
	Verification Category = "verification"
	Interrupted  Category = "canceled"
)

var exitCodes = map[Category]int{
	Internal: 1, BadInput: 2, Precondition: 10, Quota: 10, Credentials: 11, Permission: 11, Conflict: 12, Approval: 13,
	Transient: 14, Timeout: 15, Partial: 16, Unhealthy: 17, Verification: 18, Interrupted: 130,
}

// ExitCode is the exit code of a category; an unknown one is our bug.
func (c Category) ExitCode() int {
	if code, ok := exitCodes[c]; ok {
		return code
	}
	return 1
}

// Error is an error that says what kind it is and what to do. Message is a path of nouns ("nodegroup/ci: create: ..."), lower case.
type Error struct {
	Code      string // stable, such as QuotaExceeded
	Category  Category
	Retryable bool
	Message   string
	Hints     []string // each names a field, flag or command that fixes it
	Err       error    // cause; its text follows the message
}

func (e *Error) Error() string {
	switch {
	case e.Err == nil:
		return e.Message
	case e.Message == "":
		return e.Err.Error()
	default:
		return e.Message + ": " + e.Err.Error()
	}
}

func (e *Error) Unwrap() error { return e.Err }

// ErrorInfo is an error as it stands in a result.
type ErrorInfo struct {
	Code      string   `json:"code"`
	Category  Category `json:"category"`
	Retryable bool     `json:"retryable"`
	Message   string   `json:"message"`
	Hint      string   `json:"hint,omitempty"`
}

// Classify finds what kind of error err is. Errors of our own packages have a kind of their own; an error nobody classified is
// Internal, since a step that lets a raw error through has not said what the user can do.
func Classify(err error) *Error {
	var known *Error
	if errors.As(err, &known) {
		c := *known
		c.Message, c.Err = err.Error(), nil
		return &c
	}
	var refused *reconcile.RefusedError
	var late *wait.TimeoutError
	var problems spec.Problems
	switch {
	case errors.As(err, &problems):
		return &Error{Code: "InvalidSpec", Category: BadInput, Message: err.Error(), Hints: hints(problems)}
	case errors.As(err, &refused) && refused.Foreign:
		return &Error{Code: "NotOurs", Category: Conflict, Message: err.Error(), Hints: []string{"choose another name, or remove the other object"}}
	case errors.As(err, &refused):
		return &Error{Code: "Immutable", Category: Precondition, Message: err.Error(), Hints: []string{"put the old value back, or remove the resource by `pipectl down` first"}}
	case errors.As(err, &late):
		return &Error{Code: "TimedOut", Category: Timeout, Message: err.Error(), Hints: []string{"run the same command again: it carries on"}}
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Code: "TimedOut", Category: Timeout, Message: err.Error(), Hints: []string{"raise `timeout`, or run the same command again: it carries on"}}
	case errors.Is(err, context.Canceled):
		return &Error{Code: "Canceled", Category: Interrupted, Message: err.Error(), Hints: []string{"run the same command again: it carries on"}}
	}
	return &Error{Code: "Internal", Category: Internal, Message: err.Error()}
}

func hints(ps spec.Problems) []string {
	var out []string
	for _, p := range ps {
		if p.Hint != "" {
			out = append(out, p.Hint)
		}
	}
	return out
}
