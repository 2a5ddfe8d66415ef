package rehearsal

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
)

// TestABuildMovesItsOwnJenkinsAndDiesWithIt runs the client as a build of the Jenkins that it moves. The build ends with that Jenkins, and
// the client with the build; the Job in the source cluster goes on, and a run from elsewhere finishes the move.
func TestABuildMovesItsOwnJenkinsAndDiesWithIt(t *testing.T) {
	file := filepath.Join(shipped(t), "jenkins-to-ebs.yaml")
	o, err := readOutline(file)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, o, file)
	before, err := digest(w.oldHome(), changesWhileRunning)
	if err != nil {
		t.Fatal(err)
	}
	own := w.keepBuilding(t)
	stopped := make(chan error, 1)
	go func() {
		stopped <- w.oldStops(t.Context())
		w.killed()
	}()
	w.secrets["BUILD_URL"] = own // as Jenkins sets it for its builds
	killed, _, _, err := w.once(t.Context(), "run", nil)
	if !killed {
		t.Fatalf("the run ended before the old Jenkins was stopped: %v", err)
	}
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	delete(w.secrets, "BUILD_URL")
	p := &play{world: w}
	got, err := p.act(t.Context(), "run", "run")
	if err != nil || got.Exit != 0 {
		t.Fatalf("the run that takes it up: exit %d, %v", got.Exit, err)
	}
	if d := p.downtime(); d == nil || d.Total <= 0 {
		t.Errorf("downtime: %+v", d)
	}
	after, err := digest(w.oldHome(), changesWhileRunning)
	if err != nil || after != before {
		t.Errorf("the old home is not as it was: %v", err)
	}
	if err := p.sameJobs("run", "same jobs"); err != nil || !p.checks[0].OK {
		t.Errorf("jobs: %+v, %v", p.checks, err)
	}
	if replicas, err := w.replicas(t.Context()); err != nil || replicas != 0 {
		t.Errorf("the old Jenkins has %d replicas, %v", replicas, err)
	}
}

func (w *world) replicas(ctx context.Context) (int32, error) {
	s := w.source()
	d, err := s.client.AppsV1().Deployments(s.Jenkins.Namespace).Get(ctx, s.Jenkins.Name, metav1.GetOptions{})
	if err != nil {
		return 0, err
	}
	return *d.Spec.Replicas, nil
}

// oldStops waits until the old Jenkins is told to stop.
func (w *world) oldStops(ctx context.Context) error {
	return wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, 5*time.Minute, true, func(ctx context.Context) (bool, error) {
		n, err := w.replicas(ctx)
		return n == 0, err
	})
}

// keepBuilding has the old Jenkins run a build for as long as it runs itself, and returns the build's URL.
func (w *world) keepBuilding(t *testing.T) string {
	t.Helper()
	s := w.source()
	patch := []byte(`{"spec":{"template":{"spec":{"containers":[{"name":"jenkins","env":[{"name":"LAB_JENKINS_BUSY","value":"endless"}]}]}}}}`)
	if _, err := s.client.AppsV1().Deployments(s.Jenkins.Namespace).Patch(t.Context(), s.Jenkins.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	var own string
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, 2*time.Minute, true, func(ctx context.Context) (bool, error) {
		pods, err := s.client.CoreV1().Pods(s.Jenkins.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=" + s.Jenkins.Name})
		if err != nil || len(pods.Items) != 1 || len(pods.Items[0].Spec.Containers[0].Env) == 0 || !ready(&pods.Items[0]) {
			return false, err
		}
		own, err = w.building()
		return own != "", err
	})
	if err != nil {
		t.Fatalf("the old Jenkins does not build: %v", err)
	}
	return own
}

func ready(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// building is the URL, as the old Jenkins might call it, of a build that the timer started and that has no record yet; "" when none.
func (w *world) building() (string, error) {
	jobs := filepath.Join(w.oldHome(), "jobs")
	own := ""
	err := filepath.WalkDir(jobs, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "log" {
			return ignoreGone(err)
		}
		log, err := os.ReadFile(path)
		if err != nil || !strings.HasPrefix(string(log), "Started by timer") {
			return ignoreGone(err)
		}
		build := filepath.Dir(path)
		if _, err := os.Stat(filepath.Join(build, "build.xml")); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		rel, err := filepath.Rel(jobs, build)
		own = "https://jenkins.example.org/job/" + strings.NewReplacer("/jobs/", "/job/", "/builds/", "/").Replace(rel) + "/"
		return err
	})
	return own, err
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
