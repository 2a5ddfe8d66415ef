package main

import (
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"pipectl.dev/engine"
	"pipectl.dev/results/sinks"
	"pipectl.dev/steps"
)

// terminationFile is where Kubernetes looks for a container's last words; "" outside of a pod.
func (a *app) terminationFile() string {
	if file := a.getenv("PIPECTL_TERMINATION_LOG"); file != "" {
		return file
	}
	if inPod() {
		return terminationLog
	}
	return ""
}

// runs are the verbs whose end a pod tells by its termination message.
var runs = []string{"run", "down", "destroy"}

// lastWords leaves why a run ended before it began (a mistake in the file, no credentials) where Kubernetes and Argo CD look for it. A run
// that began leaves its own result.
func (a *app) lastWords(verb string, err error, code int) {
	file := a.terminationFile()
	if file == "" || a.told || !slices.Contains(runs, verb) {
		return
	}
	e := steps.Classify(err)
	now := time.Now().UTC()
	info := steps.ErrorInfo{Code: e.Code, Category: e.Category, Retryable: e.Retryable, Message: brief(e.Message), Hint: brief(strings.Join(e.Hints, "; "))}
	message, failed := sinks.Termination(&engine.RunResult{
		APIVersion: steps.APIVersion, Kind: "RunResult", Verb: verb, Status: steps.Failed, Exit: code, StartedAt: now, FinishedAt: now, Stages: []steps.Result{},
		Errors: []engine.StageError{{ErrorInfo: info}}, Untouched: true, Tool: steps.Tool{Version: version, Commit: commit},
	}, terminationLimit)
	if failed == nil {
		_ = os.WriteFile(file, message, 0o644) // best effort, as for a run that began
	}
}

// brief cuts text to what leaves room for the rest of the message.
func brief(text string) string {
	const room = 1500
	if len(text) <= room {
		return text
	}
	text = text[:room]
	for !utf8.ValidString(text) {
		text = text[:len(text)-1]
	}
	return text + "..."
}
