package jenkinshome

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

func decoded[T any](t *testing.T, text string) (o T) {
	t.Helper()
	raw, err := json.Marshal(object(text))
	if err == nil {
		err = json.Unmarshal(raw, &o)
	}
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestWhoSharesTheHomeInTheWholeCluster(t *testing.T) {
	var volumes []corev1.PersistentVolume
	for _, text := range []string{
		`{metadata: {name: pv-home}, spec: {claimRef: {namespace: jenkins, name: home}, csi: {driver: ebs.csi.aws.com, volumeHandle: vol-1}}}`,
		`{metadata: {name: pv-again}, spec: {claimRef: {namespace: backup, name: again}, csi: {driver: ebs.csi.aws.com, volumeHandle: vol-1}}}`,
		`{metadata: {name: pv-in-tree}, spec: {claimRef: {namespace: backup, name: in-tree}, awsElasticBlockStore: {volumeID: aws://eu-central-1a/vol-1}}}`,
		`{metadata: {name: pv-other}, spec: {claimRef: {namespace: backup, name: other}, csi: {driver: ebs.csi.aws.com, volumeHandle: vol-2}}}`,
		`{metadata: {name: pv-driver}, spec: {claimRef: {namespace: backup, name: driver}, csi: {driver: other.example.org, volumeHandle: vol-1}}}`,
		`{metadata: {name: pv-free}, spec: {csi: {driver: ebs.csi.aws.com, volumeHandle: vol-1}}}`,
		`{metadata: {name: pv-dir}, spec: {claimRef: {namespace: backup, name: dir}, hostPath: {path: /srv/jenkins/jobs}}}`,
		`{metadata: {name: pv-local}, spec: {claimRef: {namespace: backup, name: local}, local: {path: /srv/jenkins}}}`,
		`{metadata: {name: pv-beside}, spec: {claimRef: {namespace: backup, name: beside}, local: {path: /srv/jenkins2}}}`,
	} {
		volumes = append(volumes, decoded[corev1.PersistentVolume](t, text))
	}
	disk, dir := homePlace{Volume: "pv-home"}, homePlace{Dir: "/srv/jenkins", Node: "n1"}
	const writer = `containers: [{name: c, volumeMounts: [{name: v, mountPath: /x}]}]`
	claim := func(namespace, name, node string) string {
		return `{metadata: {name: p, namespace: ` + namespace + `}, spec: {nodeName: ` + node + `, ` + writer + `, volumes: [{name: v, persistentVolumeClaim: {claimName: ` + name + `}}]}}`
	}
	host := func(path, node string) string {
		return `{metadata: {name: p, namespace: any}, spec: {nodeName: ` + node + `, ` + writer + `, volumes: [{name: v, hostPath: {path: ` + path + `}}]}}`
	}
	for name, c := range map[string]struct {
		pod   string
		at    homePlace
		found bool
	}{
		"the claim itself":                        {claim("jenkins", "home", "n1"), disk, true},
		"a claim of that name elsewhere":          {claim("backup", "home", "n1"), disk, false},
		"another volume with the same handle":     {claim("backup", "again", "n7"), disk, true},
		"the same, of before the driver":          {claim("backup", "in-tree", "n7"), disk, true},
		"another handle":                          {claim("backup", "other", "n1"), disk, false},
		"the same handle of another driver":       {claim("backup", "driver", "n1"), disk, false},
		"a claim on a directory below the home":   {claim("backup", "dir", "n1"), dir, true},
		"the same on another node":                {claim("backup", "dir", "n2"), dir, false},
		"a local volume that is the home":         {claim("backup", "local", "n1"), dir, true},
		"one beside it":                           {claim("backup", "beside", "n1"), dir, false},
		"a hostPath in another namespace":         {host("/srv/jenkins/", "n1"), dir, true},
		"a hostPath below the home":               {host("/srv/jenkins/jobs", "n1"), dir, true},
		"a hostPath above it":                     {host("/srv", "n1"), dir, false}, // of those that look after the node
		"a hostPath on another node":              {host("/srv/jenkins", "n2"), dir, false},
		"a hostPath, while the home is on a disk": {host("/srv/jenkins", "n1"), disk, false},
		"a claim that is mounted read only": {`{metadata: {name: p, namespace: backup}, spec: {` + writer +
			`, volumes: [{name: v, persistentVolumeClaim: {claimName: again, readOnly: true}}]}}`, disk, false},
		"a pod that has ended": {strings.Replace(claim("backup", "again", "n1"), "{metadata", "{status: {phase: Failed}, metadata", 1), disk, false},
		"one of ours":          {strings.Replace(claim("backup", "again", "n1"), "{name: p,", "{name: p, labels: {pipectl.dev/run: r},", 1), disk, false},
	} {
		pod := decoded[corev1.Pod](t, c.pod)
		var want []string
		if c.found {
			want = []string{pod.Namespace + "/p"}
		}
		if d := cmp.Diff(want, sharersAnywhere([]corev1.Pod{pod}, volumes, c.at)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

const farPath = "/api/v1/namespaces/backup/pods/nightly"

// farPod runs on the old node, in a namespace of which the mover may know nothing.
func (s *stage) farPod() {
	s.old.put(farPath, object(`{apiVersion: v1, kind: Pod, metadata: {name: nightly, namespace: backup}, spec: {nodeName: node-1,
containers: [{name: c, volumeMounts: [{name: home, mountPath: /home}]}], volumes: [{name: home, hostPath: {path: /var/lib/jenkins}}]}, status: {phase: Running}}`))
}

func TestAPodOfAnotherNamespaceThatHasTheHomeTurnsTheCutOverBack(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		pre, err := s.precopy(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.farPod()
		if _, err := s.migrate(t.Context(), pre.Move, "run-1"); code(err) != "HomeShared" || !strings.Contains(err.Error(), "backup/nightly") {
			t.Fatalf("got %v", err)
		}
		if notes := strings.Join(s.notes, "\n"); !strings.Contains(notes, "must end with Jenkins, or the cut-over turns back: backup/nightly") {
			t.Errorf("not told before Jenkins stopped: %s", notes)
		}
		s.await("the old Jenkins", s.oldRuns)
		s.safe(t)
		if s.state() != Precopied {
			t.Errorf("state %q", s.state())
		}
		s.old.remove(farPath)
		if _, err := s.migrate(t.Context(), pre.Move, "run-2"); err != nil {
			t.Errorf("once it is gone: %v", err)
		}
		s.sameHome(t)
	})
}

func TestAPodOfAnotherNamespaceMayEndInTime(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		pre, err := s.precopy(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.farPod()
		s.on(string(doAwaitAck), func() {
			time.AfterFunc(30*time.Second, func() { s.old.remove(farPath) })
		})
		if _, err := s.migrate(t.Context(), pre.Move, "run-1"); err != nil {
			t.Fatal(err)
		}
		s.sameHome(t)
	})
}

func TestWhoMayNotListPodsOfAllNamespacesIsToldWhatIsNotKnown(t *testing.T) {
	for _, path := range []string{"/api/v1/pods", "/api/v1/persistentvolumes"} {
		bubble(t, func(t *testing.T, s *stage) {
			pre, err := s.precopy(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			s.farPod()
			s.old.deny = func(_, p string) bool { return p == path }
			if _, err := s.migrate(t.Context(), pre.Move, "run-1"); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			if notes := strings.Join(s.notes, "\n"); strings.Count(notes, "whether one of them writes to the home is not known") != 1 {
				t.Errorf("%s: notes: %s", path, notes)
			}
		})
	}
}
