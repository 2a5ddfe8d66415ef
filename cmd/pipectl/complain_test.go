package main

import (
	"strings"
	"syscall"
	"testing"

	"pipectl.dev/engine"
)

func TestStagesThatNeverStartedAreToldInOneLine(t *testing.T) {
	var said strings.Builder
	a := &app{stderr: &said}
	a.complainAll([]engine.StageError{
		stageError("cluster", "Canceled", signalError{syscall.SIGTERM}.Error()),
		stageError("argocd", "NotStarted", "not started: the run was cancelled"),
		stageError("apps", "NotStarted", "not started: the run was cancelled"),
	})
	want := "error: cluster: stopped by SIGTERM\nnot started: argocd, apps\n"
	if said.String() != want {
		t.Errorf("got %q, want %q", said.String(), want)
	}
}

func stageError(stage, code, message string) engine.StageError {
	var e engine.StageError
	e.Stage, e.Code, e.Message = stage, code, message
	return e
}
