package jenkinshome

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/kube"
)

// TestLabRouteStreamOnARealControlPlane carries a home from a node outside of EC2 by two real port-forwards between two real pods.
func TestLabRouteStreamOnARealControlPlane(t *testing.T) {
	l := newLabMove(t, "outside-1", "192.168.7.5", "srv/jenkins")
	to := l.addNode(t, "inside-1", "172.31.0.31", true)
	pre := l.precopied(t, "stream-1", labJenkins("outside", "outside-1", "hostPath: {path: /srv/jenkins}"), kube.Workload{Kind: "Deployment", Namespace: "outside", Name: "jenkins"})
	if pre.Move.Route != routeStream || pre.Move.Source.InstanceID != to.InstanceID || pre.Figures.Files == 0 {
		t.Errorf("%+v %+v", pre.Move, pre.Figures)
	}
	l.nothingOfTheStream(t)
	if err := os.WriteFile(filepath.Join(l.home, "jobs", "late.xml"), []byte("after the copy"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := migrateStep{l.base}.Apply(t.Context(), l.stage.env("stream-1"), l.migrateSpec(pre.Move))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("migrate: %+v", out.Downtime)
	l.nothingOfTheStream(t)
	l.sameHome(t, out.Move)
	if v, err := readVolume(t.Context(), l.session, l.stage.volume); v.state() != Moved || v.Instance != "" || err != nil {
		t.Errorf("%s, attached to %q, %v", v.state(), v.Instance, err)
	}
}

// nothingOfTheStream wants Jobs and keys gone with their pass.
func (l *labMove) nothingOfTheStream(t *testing.T) {
	t.Helper()
	for _, ns := range []string{"outside", copyIn} {
		jobs, err := l.kube.Typed.BatchV1().Jobs(ns).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		secrets, err := l.kube.Typed.CoreV1().Secrets(ns).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range jobs.Items {
			t.Errorf("job %s/%s is left", ns, j.Name)
		}
		for _, s := range secrets.Items {
			if strings.HasPrefix(s.Name, "pipectl-") {
				t.Errorf("secret %s/%s is left", ns, s.Name)
			}
		}
	}
}
