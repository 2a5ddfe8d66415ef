package rehearsal

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestAHomeTravelsFromOneControlPlaneToAnother moves a home whose node the volume cannot be attached to. What copies is a pod of another cluster,
// with an API server of its own. On route stream nothing connects the two but the client's port-forwards.
func TestAHomeTravelsFromOneControlPlaneToAnother(t *testing.T) {
	for route, ran := range map[string][]string{ // by the old cluster
		"stream":   {"jenkins/pipectl-cutover-", "jenkins/pipectl-serve-"},
		"snapshot": {"jenkins/pipectl-cutover-"},
	} {
		t.Run(route, func(t *testing.T) {
			file := filepath.Join(shipped(t), "jenkins-to-ebs.yaml")
			o, err := readOutline(file)
			if err != nil {
				t.Fatal(err)
			}
			o.Values = map[string]string{"route": route}
			w := newWorld(t, o, file)
			before, err := digest(w.oldHome(), changesWhileRunning)
			if err != nil {
				t.Fatal(err)
			}
			p := &play{world: w}
			got, err := p.act(t.Context(), "run", "run")
			if err != nil || got.Exit != 0 {
				t.Fatalf("exit %d, %v", got.Exit, err)
			}
			after, err := digest(w.oldHome(), changesWhileRunning)
			if err != nil || after != before {
				t.Errorf("the old home is not as it was: %v", err)
			}
			if err := p.sameJobs("run", "same jobs"); err != nil || !p.checks[0].OK {
				t.Errorf("jobs: %+v, %v", p.checks, err)
			}
			if d := p.downtime(); d == nil || d.Total <= 0 {
				t.Errorf("downtime: %+v", d)
			} else {
				t.Log(d.text())
			}
			for _, s := range w.sites {
				want := ran
				if s.Jenkins.Name == "" {
					want = []string{"kube-system/pipectl-precopy-"}
				}
				s.ranMovers(t, want)
			}
		})
	}
}

// ranMovers wants the cluster to have run these Jobs of ours, by how their names begin, and to have none left.
func (s *site) ranMovers(t *testing.T, want []string) {
	t.Helper()
	got, err := s.moverJobs(t.Context())
	if err != nil || !slices.EqualFunc(got, want, strings.HasPrefix) {
		t.Errorf("%s ran %q, want %q, %v", s.title(), got, want, err)
	}
	left, err := s.client.BatchV1().Jobs("").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(left.Items) > 0 {
		t.Errorf("%s: %d Jobs are left, %v", s.title(), len(left.Items), err)
	}
}

// moverJobs are the Jobs of ours that the cluster had pods for, by the events that it keeps.
func (s *site) moverJobs(ctx context.Context) ([]string, error) {
	list, err := s.client.CoreV1().Events("").List(ctx, metav1.ListOptions{FieldSelector: "reason=SuccessfulCreate,involvedObject.kind=Job"})
	if err != nil {
		return nil, fmt.Errorf("events: %w", err)
	}
	names := map[string]bool{}
	for _, e := range list.Items {
		if o := e.InvolvedObject; strings.HasPrefix(o.Name, "pipectl-") {
			names[o.Namespace+"/"+o.Name] = true
		}
	}
	return slices.Sorted(maps.Keys(names)), nil
}
