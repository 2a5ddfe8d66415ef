package jenkinshome

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

const backupPath = oldNS + "/pods/backup"

// backupPod runs beside Jenkins, on its node, and has what lies in the home.
func (s *stage) backupPod(mount string) {
	s.old.put(backupPath, object(`{apiVersion: v1, kind: Pod, metadata: {name: backup, namespace: jenkins}, spec: {nodeName: node-1,
containers: [{name: c, volumeMounts: [`+mount+`]}], volumes: [{name: home, hostPath: {path: /var/lib/jenkins/jobs}}]}, status: {phase: Running}}`))
}

func TestAPodThatOnlyReadsTheHomeOrEndsIsNoObstacle(t *testing.T) {
	for name, c := range map[string]struct {
		mount string
		ends  bool
	}{
		"it reads":                    {"{name: home, mountPath: /home, readOnly: true}", false},
		"it writes, and ends in time": {"{name: home, mountPath: /home}", true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				s.backupPod(c.mount)
				if c.ends {
					s.on(string(doAwaitEnd), func() {
						go func() {
							time.Sleep(30 * time.Second)
							s.old.remove(backupPath)
						}()
					})
				}
				s.moved(t)
				s.sameHome(t)
			})
		})
	}
}

func TestWhoSharesTheHome(t *testing.T) {
	pod := func(text string) (p corev1.Pod) {
		raw, err := json.Marshal(object(text))
		if err == nil {
			err = json.Unmarshal(raw, &p)
		}
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	const writer = `containers: [{name: c, volumeMounts: [{name: v, mountPath: /x}]}]`
	for text, want := range map[string][]string{
		`{metadata: {name: p}, spec: {` + writer + `, volumes: [{name: v, persistentVolumeClaim: {claimName: home}}]}}`:                                                     {"p"},
		`{metadata: {name: p}, spec: {` + writer + `, volumes: [{name: v, persistentVolumeClaim: {claimName: other}}]}}`:                                                    nil,
		`{metadata: {name: p}, spec: {` + writer + `, volumes: [{name: v, persistentVolumeClaim: {claimName: home}}]}, status: {phase: Succeeded}}`:                         nil,
		`{metadata: {name: p, labels: {pipectl.dev/run: r}}, spec: {` + writer + `, volumes: [{name: v, persistentVolumeClaim: {claimName: home}}]}}`:                       nil,
		`{metadata: {name: p}, spec: {initContainers: [{name: c, volumeMounts: [{name: v}]}], volumes: [{name: v, persistentVolumeClaim: {claimName: home}}]}}`:             {"p"},
		`{metadata: {name: p}, spec: {containers: [{name: c, volumeMounts: [{name: v, readOnly: true}]}], volumes: [{name: v, persistentVolumeClaim: {claimName: home}}]}}`: nil,
		`{metadata: {name: p}, spec: {nodeName: n1, ` + writer + `, volumes: [{name: v, hostPath: {path: /srv/jenkins/}}]}}`:                                                {"p"},
		`{metadata: {name: p}, spec: {nodeName: n1, ` + writer + `, volumes: [{name: v, hostPath: {path: /srv/jenkins/jobs}}]}}`:                                            {"p"},
		`{metadata: {name: p}, spec: {nodeName: n2, ` + writer + `, volumes: [{name: v, hostPath: {path: /srv/jenkins}}]}}`:                                                 nil,
		`{metadata: {name: p}, spec: {nodeName: n1, ` + writer + `, volumes: [{name: v, hostPath: {path: /srv/jenkins2}}]}}`:                                                nil,
		`{metadata: {name: p}, spec: {nodeName: n1, ` + writer + `, volumes: [{name: v, hostPath: {path: /srv}}]}}`:                                                         nil,
	} {
		if d := cmp.Diff(want, sharers([]corev1.Pod{pod(text)}, "home", "/srv/jenkins", "n1")); d != "" {
			t.Errorf("%s: %s", text, d)
		}
	}
}
