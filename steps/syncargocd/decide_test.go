package syncargocd

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"
	"github.com/argoproj/gitops-engine/pkg/health"
	"github.com/argoproj/gitops-engine/pkg/sync/common"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/steps"
)

const (
	shaA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	shaB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

var (
	epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	want  = wanted{RunID: "run-1", HealthyFor: 20 * time.Second, DegradedGrace: time.Minute, Appear: 3 * time.Minute, Timeout: 15 * time.Minute}
)

// app is an Application that is Synced and Healthy at shaA, changed by edits.
func app(edits ...func(*argo.Application)) *argo.Application {
	a := &argo.Application{}
	a.Name, a.ResourceVersion = "shop", "7"
	a.Status.Sync = argo.SyncStatus{Status: argo.SyncStatusCodeSynced, Revision: shaA}
	a.Status.Health.Status = health.HealthStatusHealthy
	a.Spec.Source = &argo.ApplicationSource{RepoURL: "r", Path: "p"}
	a.Status.Sync.ComparedTo.Source = *a.Spec.Source
	a.Status.ReconciledAt = &metav1.Time{Time: epoch}
	for _, e := range edits {
		e(a)
	}
	return a
}

func outOf(a *argo.Application)    { a.Status.Sync.Status = argo.SyncStatusCodeOutOfSync }
func degraded(a *argo.Application) { a.Status.Health.Status = health.HealthStatusDegraded }
func starting(a *argo.Application) { a.Status.Health.Status = health.HealthStatusProgressing }
func marked(a *argo.Application) {
	a.Annotations = map[string]string{argo.AnnotationKeyRefresh: "normal"}
}
func later(a *argo.Application) {
	a.Status.ReconciledAt = &metav1.Time{Time: a.Status.ReconciledAt.Add(time.Second)}
}

func auto(a *argo.Application) {
	a.Spec.SyncPolicy = &argo.SyncPolicy{Automated: &argo.SyncPolicyAutomated{}}
}

func from(path string) func(*argo.Application) {
	return func(a *argo.Application) { a.Spec.Source = &argo.ApplicationSource{RepoURL: "r", Path: path} }
}

func at(revision string) func(*argo.Application) {
	return func(a *argo.Application) { a.Status.Sync.Revision = revision }
}

func op(run string) *argo.Operation {
	return &argo.Operation{Info: []*argo.Info{{Name: runInfo, Value: run}}, InitiatedBy: argo.OperationInitiator{Username: "by-" + run}}
}

func pending(run string) func(*argo.Application) {
	return func(a *argo.Application) { a.Operation = op(run) }
}

func state(run string, p common.OperationPhase, message string) func(*argo.Application) {
	return func(a *argo.Application) {
		a.Status.OperationState = &argo.OperationState{Operation: *op(run), Phase: p, Message: message, SyncResult: &argo.SyncOperationResult{Revision: shaA, Source: argo.ApplicationSource{RepoURL: "r", Path: "p"}}}
	}
}

// refused says that an object was not taken.
func refused(message string) func(*argo.Application) {
	return func(a *argo.Application) {
		a.Status.OperationState.SyncResult.Resources = argo.ResourceResults{{Kind: "ConfigMap", Status: common.ResultCodeSynced}, {Kind: "Pod", Status: common.ResultCodeSyncFailed, Message: message}}
	}
}

// hooked says that a hook failed by itself.
func hooked(message string) func(*argo.Application) {
	return func(a *argo.Application) {
		a.Status.OperationState.SyncResult.Resources = argo.ResourceResults{{Kind: "Job", HookType: common.HookTypePreSync, HookPhase: common.OperationFailed, Message: message}}
	}
}

// namespaceThere says that the operation could not make the namespace, since it was there.
func namespaceThere(a *argo.Application) {
	a.Status.OperationState.SyncResult.Resources = argo.ResourceResults{{Kind: "Namespace", Message: `namespaces "many" already exists`}}
}

func unmarked(a *argo.Application) { a.Operation.Info = nil }

// ofSync says that the operation was a whole sync.
func ofSync(a *argo.Application) {
	if s := a.Status.OperationState; s != nil {
		s.Operation.Sync = &argo.SyncOperation{}
	}
}

func condition(kind, message string) func(*argo.Application) {
	return func(a *argo.Application) {
		a.Status.Conditions = []argo.ApplicationCondition{{Type: kind, Message: message}}
	}
}

// sight is the Application at one time, and what must be decided then: "hold <part of the detail>", "refresh", "hard refresh", "sync",
// "finish", "fail <code>" or "terminate <code>". A sync that is asked for is taken as written.
type sight struct {
	after time.Duration // since the look before
	app   *argo.Application
	want  string
}

func TestDecisions(t *testing.T) {
	defer func(o, d time.Duration) { orphanAfter, deliverWithin = o, d }(orphanAfter, deliverWithin)
	orphanAfter, deliverWithin = 45*time.Second, time.Minute // whatever the tests with a real Argo CD run with
	const tick = time.Second
	fresh := app(later)
	inOrder := []sight{{0, app(outOf), "refresh"}, {tick, app(outOf, later), "sync"}}
	after := func(first []sight, more ...sight) []sight { return append(append([]sight{}, first...), more...) }
	ran := after(inOrder, sight{tick, app(outOf, later, pending("run-1")), "hold start"},
		sight{tick, app(outOf, later, pending("run-1"), state("run-1", common.OperationRunning, "applying")), "hold applying"})
	done := after(ran, sight{tick, app(outOf, later, state("run-1", common.OperationSucceeded, "")), "hold compare"},
		sight{15 * tick, app(outOf, later, state("run-1", common.OperationSucceeded, "")), "refresh"})
	known := func(w *wanted) { w.Recent = time.Minute }
	for name, test := range map[string]struct {
		wanted func(*wanted)
		looks  []sight
	}{
		"what is live already is left alone": {looks: []sight{{0, app(), "refresh"}, {tick, app(marked), "hold compare"}, {tick, fresh, "finish"}}},
		"a sync, a comparison, and a healthy while": {looks: after(done, sight{tick, app(marked), "hold compare"}, sight{tick, app(later, later), "hold healthy"},
			sight{19 * tick, app(later, later), "hold healthy"}, sight{tick, app(later, later), "finish"})},
		"R1: a request of ours that was overwritten is made again": {looks: after(inOrder, sight{tick, app(outOf, later, pending("other")), "hold by-other"},
			sight{tick, app(outOf, later, state("other", common.OperationSucceeded, "")), "refresh"}, sight{tick, app(outOf, later, later), "sync"})},
		"R2: the end of another operation is not taken for ours": {looks: after(inOrder,
			sight{tick, app(outOf, later, pending("run-1"), state("other", common.OperationSucceeded, "")), "hold start"})},
		"R2: an operation without marks inherits ours in the state": {wanted: func(w *wanted) { w.Timeout = 3 * time.Second },
			looks: []sight{{0, app(outOf, pending(""), unmarked, state("run-1", common.OperationRunning, "")), "hold"}, {3 * tick, app(outOf, pending(""), unmarked, state("run-1", common.OperationRunning, "")), "fail TimedOut"}}},
		"R3: the state of the operation before ours is not looked at": {looks: after(inOrder,
			sight{tick, app(outOf, later, pending("run-1"), state("run-0", common.OperationFailed, "old")), "hold start"})},
		"R4: a status from before the end of the sync does not count": {looks: after(ran,
			sight{tick, app(outOf, later, state("run-1", common.OperationSucceeded, "")), "hold compare"},
			sight{3 * tick, app(outOf, later, later, state("run-1", common.OperationSucceeded, "")), "refresh"}, sight{tick, app(marked, outOf, later, later), "hold compare"})},
		"R4: a controller that is busy compares late, without being asked": {looks: after(ran, sight{tick, app(outOf, later, state("run-1", common.OperationSucceeded, "")), "hold compare"},
			sight{14 * tick, app(outOf, later, state("run-1", common.OperationSucceeded, "")), "hold compare"}, sight{0, app(later, later), "hold healthy"})},
		"R4: one that has not by then has been restarted, and is asked": {looks: done},
		"R4: one that can only have been written after it does": {looks: after(ran, sight{tick, app(later, state("run-1", common.OperationSucceeded, "")), "hold healthy"},
			sight{20 * tick, app(later, state("run-1", common.OperationSucceeded, "")), "finish"})},
		"R4: but not at another revision": {looks: after(ran, sight{tick, app(at(shaB), later, state("run-1", common.OperationSucceeded, "")), "hold compare"},
			sight{3 * tick, app(at(shaB), later, later, state("run-1", common.OperationSucceeded, "")), "refresh"})},
		"what is known to be out of sync is not asked for again":        {wanted: known, looks: []sight{{0, app(outOf), "sync"}}},
		"but if that was long ago":                                      {wanted: known, looks: []sight{{2 * time.Minute, app(outOf), "refresh"}}},
		"or if it is Synced":                                            {wanted: known, looks: []sight{{0, app(), "refresh"}}},
		"or was compared with another source":                           {wanted: known, looks: []sight{{0, app(outOf, from("other")), "refresh"}}},
		"or is being compared":                                          {wanted: known, looks: []sight{{0, app(outOf, marked), "refresh"}}},
		"or says an error":                                              {wanted: known, looks: []sight{{0, app(outOf, condition("ComparisonError", "x")), "refresh"}}},
		"or is not at the commit that was pushed":                       {wanted: func(w *wanted) { w.Recent, w.Pushed = time.Minute, shaB }, looks: []sight{{0, app(outOf), "refresh"}}},
		"R14: an API server that was away while it was applied":         {looks: after(ran, sight{tick, app(outOf, later, state("run-1", common.OperationFailed, "no"), refused("dial tcp 10.96.0.1:443: connect: connection refused")), "refresh"}, sight{tick, app(outOf, later, later), "sync"})},
		"R14: a webhook that is away may be so for good":                {looks: after(ran, sight{tick, app(outOf, later, state("run-1", common.OperationFailed, "no"), refused("failed calling webhook: dial tcp: connect: connection refused")), "fail SyncFailed"})},
		"R14: what a hook says of its database is its own word":         {looks: after(ran, sight{tick, app(outOf, later, state("run-1", common.OperationFailed, "no"), hooked("dial tcp: connect: connection refused")), "fail SyncFailed"})},
		"a namespace that others made at the same moment":               {looks: after(ran, sight{tick, app(outOf, later, state("run-1", common.OperationFailed, "no"), namespaceThere), "refresh"}, sight{tick, app(outOf, later, later), "sync"})},
		"a controller that did not know the projects yet is asked anew": {looks: after(ran, sight{tick, app(outOf, later, state("run-1", common.OperationError, "Application referencing project default which does not exist")), "refresh"}, sight{tick, app(outOf, later, later), "sync"})},
		"R4: a status of another revision than the one synced does not count": {looks: after(done, sight{tick, app(outOf, at(shaB), later, later), "refresh"},
			sight{tick, app(outOf, at(shaB), later, later, later), "sync"})},
		"R5: a mark that went without a comparison is set again, once": {looks: []sight{{0, app(outOf), "refresh"}, {tick, app(outOf), "refresh"}, {tick, app(outOf), "sync"}}},
		"R5: a controller that does not answer":                        {looks: []sight{{0, app(), "refresh"}, {tick, app(marked), "hold compare"}, {3 * time.Minute, app(marked), "fail RefreshIgnored"}}},
		"R5: a controller that stopped at an error and left the mark": {looks: []sight{{0, app(), "refresh"},
			{30 * tick, app(marked, condition("InvalidSpecError", "no project")), "hard refresh"},
			{30 * tick, app(marked, condition("InvalidSpecError", "no project")), "fail InvalidSpecError"}}},
		"R6: health that flaps starts the healthy while anew": {looks: after(done, sight{tick, app(later, later), "hold healthy"}, sight{10 * tick, app(later, later, starting), "hold Progressing"},
			sight{tick, app(later, later), "hold healthy"}, sight{19 * tick, app(later, later), "hold healthy"}, sight{tick, app(later, later), "finish"})},
		"R6: Degraded for a moment is no failure": {looks: after(done, sight{tick, app(later, later, degraded), "hold Degraded"}, sight{59 * tick, app(later, later, starting), "hold Progressing"},
			sight{tick, app(later, later, degraded), "hold Degraded"}, sight{60 * tick, app(later, later, degraded), "fail Degraded"})},
		"R7: a window that closed meanwhile is blocked, and nothing is terminated": {looks: after(inOrder,
			sight{tick, app(outOf, later, pending("run-1"), state("run-1", common.OperationRunning, "Sync operation blocked by sync window")), "refresh"},
			sight{10 * tick, app(outOf, later, pending("run-1"), state("run-1", common.OperationRunning, "Sync operation blocked by sync window")), "fail BlockedByWindow"})},
		"R7: one that lets a sync by hand through at the second look": {looks: after(inOrder,
			sight{tick, app(outOf, later, pending("run-1"), state("run-1", common.OperationRunning, "Sync operation blocked by sync window")), "refresh"},
			sight{tick, app(outOf, later, pending("run-1"), state("run-1", common.OperationRunning, "Sync operation blocked by sync window")), "hold blocked"},
			sight{tick, app(later, state("run-1", common.OperationSucceeded, "")), "hold healthy"})},
		"R7: an operation of others that a window holds": {looks: []sight{
			{0, app(outOf, pending("other"), state("other", common.OperationRunning, "Sync operation blocked by sync window")), "fail BlockedByWindow"}}},
		"R7: not even on a timeout": {wanted: func(w *wanted) { w.Timeout = time.Second }, looks: []sight{{0, app(), "refresh"},
			{2 * tick, app(outOf, pending("run-1"), state("run-1", common.OperationRunning, "Sync operation blocked by sync window")), "fail TimedOut"}}},
		"R8: a running state that nobody works on is replaced": {looks: []sight{{0, app(outOf, state("other", common.OperationRunning, "x")), "hold by-other"},
			{44 * tick, app(outOf, state("other", common.OperationRunning, "x")), "hold by-other"},
			{tick, app(outOf, state("other", common.OperationRunning, "x")), "refresh"}, {tick, app(outOf, later, state("other", common.OperationRunning, "x")), "sync"}}},
		"R8: one that moves is waited for": {looks: []sight{{0, app(outOf, state("other", common.OperationRunning, "x")), "hold by-other"},
			{44 * tick, app(outOf, state("other", common.OperationRunning, "y")), "hold by-other"}, {44 * tick, app(outOf, state("other", common.OperationRunning, "y")), "hold by-other"}}},
		"R9: what another operation delivered is not synced again": {looks: []sight{{0, app(outOf, pending("auto")), "hold by-auto"},
			{tick, app(state("auto", common.OperationSucceeded, "")), "refresh"}, {tick, app(later), "finish"}}},
		"R9: nor where the status lags behind it": {looks: []sight{{0, app(outOf, pending("auto")), "hold by-auto"}, {tick, app(outOf, state("auto", common.OperationSucceeded, ""), ofSync), "refresh"},
			{tick, app(outOf, later, state("auto", common.OperationSucceeded, ""), ofSync), "hold still"}, {tick, app(later, later, state("auto", common.OperationSucceeded, "")), "finish"}}},
		"R9: but where it stays so": {looks: []sight{{0, app(outOf, pending("auto")), "hold by-auto"}, {tick, app(outOf, state("auto", common.OperationSucceeded, ""), ofSync), "refresh"},
			{tick, app(outOf, later, state("auto", common.OperationSucceeded, ""), ofSync), "hold still"}, {15 * tick, app(outOf, later, state("auto", common.OperationSucceeded, ""), ofSync), "refresh"},
			{tick, app(outOf, later, later, state("auto", common.OperationSucceeded, ""), ofSync), "sync"}}},
		"R9: an automatic sync that starts before ours": {looks: []sight{{0, app(outOf), "refresh"}, {tick, app(outOf, later, pending("auto")), "hold by-auto"}}},
		"R12: Healthy beside a comparison error is no success": {looks: []sight{{0, app(), "refresh"},
			{tick, app(later, condition("ComparisonError", "app path does not exist")), "hard refresh"},
			{tick, app(later, later, condition("ComparisonError", "app path does not exist")), "fail ComparisonError"}}},
		"R13: an error that the repo server remembered": {looks: []sight{{0, app(), "refresh"},
			{tick, app(later, condition("ComparisonError", "Manifest generation error (cached)")), "hard refresh"}, {tick, app(later, later), "finish"}}},
		"R13: a repo server that is still starting": {looks: []sight{{0, app(), "refresh"}, {tick, app(later, condition("ComparisonError", "rpc error: code = Unavailable")), "hard refresh"},
			{tick, app(later, later, condition("ComparisonError", "rpc error: code = Unavailable")), "hold Unavailable"},
			{10 * tick, app(later, later, condition("ComparisonError", "rpc error: code = Unavailable")), "hard refresh"}, {tick, app(later, later, later), "finish"}}},
		"R16: Synced at another commit than wanted is synced": {wanted: func(w *wanted) { w.Revision = shaB }, looks: []sight{{0, app(), "refresh"}, {tick, fresh, "sync"}}},
		"R16: a sync that delivers another commit than wanted": {wanted: func(w *wanted) { w.Revision = shaB }, looks: []sight{{0, app(), "refresh"}, {tick, fresh, "sync"},
			{tick, app(later, state("run-1", common.OperationSucceeded, "")), "refresh"}, {tick, app(later, later), "fail WrongRevision"}}},
		"R16: a branch that keeps moving away ends": {looks: []sight{{0, app(outOf), "refresh"}, {tick, app(outOf, later), "sync"},
			{tick, app(later, state("run-1", common.OperationSucceeded, "")), "hold healthy"}, {tick, app(outOf, at(shaB), later, later), "refresh"}, {tick, app(outOf, at(shaB), later, later, later), "sync"},
			{tick, app(later, state("run-1", common.OperationSucceeded, "")), "hold healthy"}, {tick, app(outOf, at(shaB), later, later), "refresh"}, {tick, app(outOf, at(shaB), later, later, later), "sync"},
			{tick, app(later, state("run-1", common.OperationSucceeded, "")), "hold healthy"}, {tick, app(outOf, at(shaB), later, later), "refresh"}, {tick, app(outOf, at(shaB), later, later, later), "fail KeepsChanging"}}},
		"R16: a comparison from before the push is not synced": {wanted: func(w *wanted) { w.Commit = shaB }, looks: []sight{{0, app(outOf), "refresh"}, {tick, app(outOf, later), "hold waiting for " + shaB},
			{3 * tick, app(outOf, later), "refresh"}, {tick, app(outOf, at(shaB), later, later), "sync"}}},
		"R16: a commit that is not the head":                    {wanted: func(w *wanted) { w.Commit = shaB }, looks: []sight{{0, app(), "refresh"}, {tick, fresh, "hold waiting"}, {time.Minute, fresh, "fail WrongRevision"}}},
		"a pushed commit that is the head needs no look at Git": {wanted: func(w *wanted) { w.Pushed = shaA }, looks: []sight{{0, app(), "refresh"}, {tick, fresh, "finish"}}},
		"a pushed commit that is not: what is the head?":        {wanted: func(w *wanted) { w.Pushed = shaB }, looks: []sight{{0, app(), "refresh"}, {tick, fresh, "head"}, {0, fresh, "hold waiting for " + shaB}}},
		"R11: what was synced from another source than the Application has now is synced again": {looks: after(ran,
			sight{tick, app(later, from("other"), state("run-1", common.OperationSucceeded, "")), "refresh"},
			sight{tick, app(outOf, later, later, later, from("other")), "sync"})},
		"a dry run ends with its operation": {wanted: func(w *wanted) { w.DryRun = true }, looks: after(ran, sight{tick, app(outOf, later, state("run-1", common.OperationSucceeded, "")), "finish"})},
		"an image that is wanted and not used": {wanted: func(w *wanted) { w.Images = []string{"web:2"} }, looks: []sight{{0, app(), "refresh"}, {tick, fresh, "hold waiting for image web:2"},
			{time.Minute, fresh, "fail WrongImages"}}},
		"a child that syncs itself is waited for":           {wanted: func(w *wanted) { w.Follow = true }, looks: []sight{{0, app(outOf, auto), "refresh"}, {tick, app(outOf, auto, later), "hold automatic"}, {tick, app(auto, later), "finish"}}},
		"a child that does not sync itself is not":          {wanted: func(w *wanted) { w.Follow = true }, looks: []sight{{0, app(outOf), "refresh"}, {tick, app(outOf, later), "fail NeedsSync"}}},
		"a child whose automatic sync failed is given up":   {wanted: func(w *wanted) { w.Follow = true }, looks: []sight{{0, app(outOf, auto, state("auto", common.OperationFailed, "no")), "refresh"}, {tick, app(outOf, auto, later, state("auto", common.OperationFailed, "no")), "fail SyncFailed"}}},
		"SyncError of before does not keep us from syncing": {looks: []sight{{0, app(outOf), "refresh"}, {tick, app(outOf, later, condition("SyncError", "Failed sync attempt")), "sync"}}},
		"an Application that comes late":                    {looks: []sight{{0, nil, "hold exist"}, {2 * time.Minute, app(), "refresh"}}},
		"one that never comes":                              {looks: []sight{{0, nil, "hold exist"}, {3 * time.Minute, nil, "fail AppNotFound"}}},
		"one that is deleted meanwhile":                     {looks: []sight{{0, app(), "refresh"}, {tick, nil, "fail AppDeleted"}}},
		"a sync that fails":                                 {looks: after(ran, sight{tick, app(outOf, later, state("run-1", common.OperationFailed, "one or more objects failed")), "fail SyncFailed"})},
		"a controller that takes no operation":              {looks: after(inOrder, sight{tick, app(outOf, later, pending("run-1")), "hold start"}, sight{2 * time.Minute, app(outOf, later, pending("run-1")), "terminate SyncNotStarted"})},
		"only our own operation is stopped on a timeout": {wanted: func(w *wanted) { w.Timeout = 3 * time.Second },
			looks: after(inOrder, sight{3 * tick, app(outOf, pending("run-1"), state("run-1", common.OperationRunning, "")), "terminate TimedOut"})},
		"an operation of others is not": {wanted: func(w *wanted) { w.Timeout = 3 * time.Second },
			looks: []sight{{0, app(outOf, pending("other")), "hold by-other"}, {3 * tick, app(outOf, pending("other")), "fail TimedOut"}}},
		"Synced but not healthy yet needs no sync": {looks: []sight{{0, app(starting), "refresh"}, {tick, app(starting, later), "hold Progressing"}, {tick, app(later), "hold healthy"}, {20 * tick, app(later), "finish"}}},
		"what stays out of sync after a sync":      {looks: after(done, sight{tick, app(outOf, later, later), "hold OutOfSync"}, sight{15 * tick, app(outOf, later, later), "fail StaysOutOfSync"})},
		"an interrupted run of ours is taken up":   {looks: []sight{{0, app(outOf, pending("run-1"), state("run-1", common.OperationRunning, "applying")), "hold applying"}}},
	} {
		t.Run(name, func(t *testing.T) {
			w := want
			if test.wanted != nil {
				test.wanted(&w)
			}
			var m memory
			now := epoch
			for i, l := range test.looks {
				now = now.Add(l.after)
				next, act := decide(m, w, l.app, now)
				if got := said(act); !strings.HasPrefix(got, strings.SplitN(l.want, " ", 2)[0]) || !strings.Contains(got, l.want[strings.IndexByte(l.want, ' ')+1:]) {
					t.Fatalf("look %d: decided %q, want %q", i, got, l.want)
				}
				if m = next; act.Do == askSync {
					m = requested(m, now)
				}
			}
		})
	}
}

func said(a action) string {
	code := ""
	if a.Err != nil {
		code = steps.Classify(a.Err).Code
	}
	switch a.Do {
	case hold:
		return "hold " + a.Detail
	case askRefresh:
		if a.Hard {
			return "hard refresh"
		}
		return "refresh"
	case askSync:
		return "sync"
	case askHead:
		return "head"
	case terminate:
		return "terminate " + code
	case finish:
		return "finish"
	default:
		return "fail " + code
	}
}

func TestOperationKeepsTheApplicationsOwnPolicy(t *testing.T) {
	a := app()
	a.Spec.SyncPolicy = &argo.SyncPolicy{SyncOptions: []string{"CreateNamespace=true", "Validate=true"}, Automated: &argo.SyncPolicyAutomated{Prune: true},
		Retry: &argo.RetryStrategy{Limit: 3}}
	got := operation(a, wanted{RunID: "r", Revision: shaB}, how{options: []string{"Validate=false", "ServerSideApply=true"}})
	want := argo.Operation{
		Sync:        &argo.SyncOperation{Revision: shaB, Prune: true, SyncOptions: []string{"CreateNamespace=true", "Validate=false", "ServerSideApply=true"}},
		InitiatedBy: argo.OperationInitiator{Username: "pipectl"}, Info: []*argo.Info{{Name: runInfo, Value: "r"}}, Retry: argo.RetryStrategy{Limit: 3}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	raw, err := syncPatch(a, got)
	if err != nil {
		t.Fatal(err)
	}
	var patch map[string]any
	if err := json.Unmarshal(raw, &patch); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{"resourceVersion": "7"}, patch["metadata"]); diff != "" {
		t.Errorf("precondition (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"operationState": nil}, patch["status"]); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
}

func TestCirclesAreFound(t *testing.T) {
	for name, test := range map[string]struct {
		apps []App
		want string
	}{
		"a chain":           {apps: []App{{Name: "a", DependsOn: []string{"b"}}, {Name: "b"}}},
		"itself":            {apps: []App{{Name: "a", DependsOn: []string{"a"}}}, want: "a -> a"},
		"three in a circle": {apps: []App{{Name: "x", DependsOn: []string{"a"}}, {Name: "a", DependsOn: []string{"b"}}, {Name: "b", DependsOn: []string{"c"}}, {Name: "c", DependsOn: []string{"a"}}}, want: "a -> b -> c -> a"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, got := circle(test.apps); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
