package jenkinshome

import (
	"path/filepath"
	"strings"
	"testing"

	"pipectl.dev/kube"
	"pipectl.dev/treecopy"
)

// TestLabAHomeInAnEmptyDir moves one there and back: an API server that lets images be patched, and a kubelet that runs them.
func TestLabAHomeInAnEmptyDir(t *testing.T) {
	l := newLabMove(t, "inpod-1", "172.31.0.40", "var/lib/first")
	k, w := l.kube, kube.Workload{Kind: "Deployment", Namespace: "inpod", Name: "jenkins"}
	objects := strings.Replace(labJenkins("inpod", "inpod-1", "emptyDir: {}"), "      volumes:", "        - {name: reload, image: reload:1, volumeMounts: [{name: home, mountPath: /var/jenkins_home}]}\n      volumes:", 1)
	applyText(t, k, objects)
	awaitReady(t, k, w)
	pod, err := livePod(t.Context(), k, w)
	if err != nil {
		t.Fatal(err)
	}
	first := l.home
	if l.home, err = filepath.EvalSymlinks(filepath.Join(l.root, "var/lib/kubelet/pods", string(pod.UID), "volumes/kubernetes.io~empty-dir/home")); err != nil {
		t.Fatal(err)
	}
	if _, err := treecopy.Copy(t.Context(), first, l.home, treecopy.Options{AllowNonEmpty: true}); err != nil {
		t.Fatal(err)
	}
	pre := l.precopied(t, "lab-1", objects, w)
	m := l.migrateSpec(pre.Move)
	for _, run := range []string{"lab-1", "lab-2"} {
		out, err := migrateStep{l.base}.Apply(t.Context(), l.stage.env(run), m)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("migrate: %+v", out.Downtime)
		l.sameHome(t, out.Move)
		now, err := heldPod(t.Context(), k, w.Namespace, pod.Name, string(pod.UID))
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range now.Spec.Containers {
			if st := statusOf(now.Status.ContainerStatuses, c.Name); c.Image != "pipectl:test" || st.ImageID == pod.Status.ContainerStatuses[i].ImageID {
				t.Errorf("%s has %s, runs %s", c.Name, c.Image, st.ImageID)
			}
		}
		p := l.stage.precopySpec()
		p.From = From{Cluster: l.ref, Namespace: w.Namespace, Workload: "deployment/jenkins"}
		if _, err := (Manager{l.base}).Do(t.Context(), l.stage.env("back"), Stages{Precopy: &p, Migrate: &m}, Rollback); err != nil {
			t.Fatal(err)
		}
		awaitReady(t, k, w)
		if now, err = livePod(t.Context(), k, w); err != nil || now.UID != pod.UID {
			t.Fatalf("the old Jenkins is in another pod: %v", err)
		}
		for i, c := range now.Spec.Containers {
			if c.Image != pod.Spec.Containers[i].Image {
				t.Errorf("%s has %s", c.Name, c.Image)
			}
		}
	}
	if strings.Contains(strings.Join(l.stage.notes, "\n"), "does not answer") {
		t.Errorf("notes: %q", l.stage.notes)
	}
}
