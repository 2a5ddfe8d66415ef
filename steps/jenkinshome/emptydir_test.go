package jenkinshome

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pipectl.dev/steps"
	"pipectl.dev/steps/jenkinshome/jenkins/jenkinstest"
	"pipectl.dev/treecopy"
)

const (
	jenkinsImage = "jenkins/jenkins:2.528.1"
	heldImage    = "registry.invalid/pipectl@sha256:00"
)

// inPod puts the old home into an emptyDir of its pod, beside a sidecar that has it too and one that has not.
func (s *stage) inPod() {
	s.editPod(`{containers: [{name: jenkins, image: "` + jenkinsImage + `", ports: [{name: http, containerPort: 8080}], volumeMounts: [{name: home, mountPath: /var/jenkins_home}]},
{name: reload, image: "reload:1", volumeMounts: [{name: home, mountPath: /var/jenkins_home}]}, {name: log, image: "log:1"}], volumes: [{name: home, emptyDir: {}}]}`)
	s.await("the kubelet", func() bool { return len(containers(s.old.get(oldPod), "status", "containerStatuses")) == 3 })
}

func containers(o map[string]any, in, key string) []any {
	if o == nil {
		return nil
	}
	all, _ := sub(o, in)[key].([]any)
	return all
}

// held says whether a pod's Jenkins has an image in which it does not run.
func held(pod map[string]any) bool {
	for _, c := range containers(pod, "spec", "containers") {
		if c := c.(map[string]any); c["name"] == "jenkins" && c["image"] != nil {
			return c["image"] != jenkinsImage
		}
	}
	return false
}

// reimage is the kubelet's part: after a while the containers run the images that they are told to have, by other ids.
func (s *stage) reimage() {
	if len(sinceRun(s.old.get(oldPod))) == 0 {
		return
	}
	time.Sleep(2 * time.Second)
	now := sinceRun(s.old.get(oldPod))
	if len(now) == 0 {
		return
	}
	s.jenkins.Do(func(j *jenkinstest.Server) { j.Quiet = false })
	s.old.edit(oldPod, func(o map[string]any) { sub(o, "status")["containerStatuses"] = now })
}

// sinceRun is what a pod's status is to become; empty where it is that already, or where nobody asks for the images of the pod.
func sinceRun(pod map[string]any) (out []any) {
	before, changed := containers(pod, "status", "containerStatuses"), false
	for i, c := range containers(pod, "spec", "containers") {
		image, _ := c.(map[string]any)["image"].(string)
		if image == "" {
			return nil
		}
		st := map[string]any{"name": c.(map[string]any)["name"], "imageID": "id of " + image, "containerID": "1"}
		if i < len(before) {
			had := before[i].(map[string]any)
			n, _ := strconv.Atoi(had["containerID"].(string))
			if st["containerID"] = had["containerID"]; had["imageID"] != st["imageID"] {
				st["containerID"] = strconv.Itoa(n + 1)
			}
		}
		changed = changed || i >= len(before) || before[i].(map[string]any)["imageID"] != st["imageID"]
		out = append(out, st)
	}
	if !changed {
		return nil
	}
	return out
}

// images are those of the old pod's containers, in order.
func (s *stage) images() string {
	var out []string
	for _, c := range containers(s.old.get(oldPod), "spec", "containers") {
		out = append(out, c.(map[string]any)["image"].(string))
	}
	return strings.Join(out, " ")
}

const (
	jenkinsImages = jenkinsImage + " reload:1 log:1"
	heldImages    = heldImage + " " + heldImage + " log:1"
)

// loseOldPod deletes the pod with what of the home is named; its workload starts another, with an empty Jenkins.
func (s *stage) loseOldPod(gone string) {
	s.old.remove(oldPod)
	_ = os.RemoveAll(filepath.Join(s.home(), gone))
	s.old.put(oldPod, object(`{apiVersion: v1, kind: Pod, metadata: {name: jenkins-1, namespace: jenkins, labels: {app: jenkins}},
spec: {nodeName: node-1, containers: [{name: jenkins, image: "`+jenkinsImage+`", volumeMounts: [{name: home, mountPath: /var/jenkins_home}]}], volumes: [{name: home, emptyDir: {}}]}, status: {phase: Running}}`))
}

func TestAHomeInAPodIsMovedWhileThePodStays(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		s.inPod()
		uid := sub(s.old.get(oldPod), "metadata")["uid"]
		pre, err := s.precopy(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(s.home(), s.aJob(t))); err != nil { // a pass must remove it from the copy
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(s.home(), "new.xml"), []byte("new"), 0o600); err != nil {
			t.Fatal(err)
		}
		plan, err := migrateStep{s.base()}.Plan(t.Context(), s.env("run-1"), s.migrateSpec(pre.Move))
		if err != nil || !strings.Contains(plan.Forecast.Confirm, "goes with pod jenkins-1") {
			t.Errorf("plan: %v, %s", err, plan.Forecast.Confirm)
		}
		if _, err := s.migrate(t.Context(), pre.Move, "run-1"); err != nil {
			t.Fatal(err)
		}
		s.sameHome(t)
		if r, err := s.do(t.Context(), Resume); err != nil || !strings.Contains(r.Text(), "old home    is in pod jenkins-1, which is held and must stay") {
			t.Errorf("status: %v\n%s", err, r.Text())
		}
		pod := s.old.get(oldPod)
		if s.state() != Moved || pod == nil || sub(pod, "metadata")["uid"] != uid || s.images() != heldImages || replicas(s.old.get(oldDeploy)) != 1 {
			t.Errorf("after the cut-over: %s, %s", s.state(), jsonText(pod))
		}
		s.startNew()
		if _, err := s.verify(t.Context(), pre.Move); err != nil || s.state() != Verified || strings.Contains(strings.Join(s.notes, "\n"), "runs too") {
			t.Errorf("verify: %v, %s, %q", err, s.state(), s.notes)
		}
		s.notes = nil
		if _, err := s.do(t.Context(), Finalize); err != nil || s.images() != heldImages || !strings.Contains(strings.Join(s.notes, "\n"), "with its home in pod jenkins-1") {
			t.Errorf("finalize: %v, %s, %q", err, s.images(), s.notes)
		}
		for _, left := range []string{oldJobs, oldNS + "/serviceaccounts/"} {
			if l := s.old.list(left); len(l) > 0 {
				t.Errorf("left behind: %v", l)
			}
		}
	})
}

func TestAHomeInAPodComesBackInIt(t *testing.T) {
	for name, c := range map[string]struct {
		to   func(t *testing.T, s *stage)
		verb Verb
	}{
		"abort while it is copied":   {func(t *testing.T, s *stage) { s.cutDead(t, string(doLastPass)) }, Rollback},
		"abort of a move":            {func(t *testing.T, s *stage) { s.moved(t) }, Rollback},
		"nobody takes the volume":    {func(t *testing.T, s *stage) { s.cutDead(t, string(doAwaitAck)); time.Sleep(time.Hour) }, Resume},
		"a new Jenkins that differs": {func(t *testing.T, s *stage) { s.lacking(t, s.moved(t), "rolled back") }, Resume},
		"images that somebody gives back": {func(t *testing.T, s *stage) {
			pre, err := s.precopy(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			s.on("last pass done", func() {
				s.editPod(`{containers: [{name: jenkins, image: "` + jenkinsImage + `"}, {name: reload, image: "reload:1"}, {name: log, image: "log:1"}]}`)
			})
			if _, err := s.migrate(t.Context(), pre.Move, "run-1"); code(err) != "StartedAgain" {
				t.Errorf("got %v", err)
			}
		}, Resume},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				s.inPod()
				c.to(t, s)
				if _, err := s.do(t.Context(), c.verb); err != nil && code(err) != "NotAcknowledged" {
					t.Error(err)
				}
				if s.state() != Precopied || !s.oldRuns() || s.images() != jenkinsImages {
					t.Errorf("%s, %s", s.state(), s.images())
				}
				s.safe(t)
			})
		})
	}
}

// aJob is the directory of one job of the old home, no folder, relative to that.
func (s *stage) aJob(t *testing.T) string {
	t.Helper()
	all, _ := filepath.Glob(filepath.Join(s.home(), "jobs", "*", "config.xml"))
	for _, config := range all {
		job := filepath.Dir(config)
		if _, err := os.Stat(filepath.Join(job, "jobs")); err != nil {
			return filepath.Join("jobs", filepath.Base(job))
		}
	}
	t.Fatal("no job")
	return ""
}

// lacking compares a new Jenkins that lacks a job.
func (s *stage) lacking(t *testing.T, m Move, want string) {
	t.Helper()
	s.fresh.Do(func(j *jenkinstest.Server) { delete(j.Jobs, "a") })
	if _, err := s.verify(t.Context(), m); code(err) != "JenkinsDiffers" || !strings.Contains(err.Error(), want) {
		t.Errorf("verify: %v", err)
	}
}

// TestAPassRemovesNothingForAPodThatIsGone: a home that is being removed looks like one with fewer files.
func TestAPassRemovesNothingForAPodThatIsGone(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		s.inPod()
		job := s.aJob(t)
		s.on("pass done", func() { s.loseOldPod(job) })
		_, err := s.precopy(t.Context())
		if _, lost := os.Stat(filepath.Join(s.disk(), job, "config.xml")); code(err) != "HomeGone" || lost != nil {
			t.Errorf("%v; the copy: %v", err, lost)
		}
	})
}

// TestAHomeThatGoesWithItsPodIsNotMissedOnTheVolume: a pod that is deleted takes the old home with it, at any time. What was copied stays.
func TestAHomeThatGoesWithItsPodIsNotMissedOnTheVolume(t *testing.T) {
	for name, c := range map[string]struct {
		when  string // line of the mover's log
		code  string
		state State
	}{
		"before the last pass": {string(doLastPass), "HomeGone", Precopied},
		"when all is copied":   {string(doAwaitAck), "", Moved},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				s.inPod()
				pre, err := s.precopy(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				before := s.digest(t)
				s.on(c.when, func() { s.loseOldPod("jobs") })
				if _, err := s.migrate(t.Context(), pre.Move, "run-1"); code(err) != c.code {
					t.Errorf("got %v", err)
				}
				if s.state() != c.state || s.digest(t) != before {
					t.Errorf("%s; the copy is as it was: %v", s.state(), s.digest(t) == before)
				}
				if c.state == Moved {
					s.startNew()
					s.lacking(t, pre.Move, "went with its pod")
					if r, err := s.do(t.Context(), Resume); err != nil || !strings.Contains(r.Text(), "old home    went with pod jenkins-1") {
						t.Errorf("status: %v\n%s", err, r.Text())
					}
					if notes := strings.Join(s.notes, "\n"); !strings.Contains(notes, "starts an empty Jenkins in its place") {
						t.Errorf("notes: %s", notes)
					}
					if _, err := s.do(t.Context(), Rollback); code(err) != "HomeGone" || steps.Classify(err).Category.ExitCode() != 12 || s.state() != Moved || !s.newRuns() {
						t.Errorf("abort: %v, %s", err, s.state())
					}
					return
				}
				if _, err := s.migrate(t.Context(), pre.Move, "run-2"); code(err) != "JobsMissing" && code(err) != "NotAHome" || s.digest(t) != before {
					t.Errorf("the empty Jenkins: %v, the copy is as it was: %v", err, s.digest(t) == before)
				}
			})
		})
	}
}

func (s *stage) digest(t *testing.T) string {
	t.Helper()
	d, err := treecopy.Digest(t.Context(), s.disk(), treecopy.Options{Excludes: defaultExcludes})
	if err != nil {
		t.Fatal(err)
	}
	return d.ManifestHash
}

func TestASnapshotOfAHomeWhosePodWentIsNotCopied(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		s.apart(t)
		s.inPod()
		pre, err := s.precopy(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		before := s.digest(t)
		s.on(string(doAwaitAck), func() { s.loseOldPod("jobs") })
		if _, err := s.migrate(t.Context(), pre.Move, "run-1"); code(err) != "HomeGone" || s.digest(t) != before {
			t.Errorf("got %v, the copy is as it was: %v", err, s.digest(t) == before)
		}
		if _, err := s.do(t.Context(), Resume); s.state() != Precopied {
			t.Errorf("then %s, %v", s.state(), err)
		}
	})
}

func TestTheMoveOfAPodsHomeSurvivesDeaths(t *testing.T) {
	events, lines := 0, 0
	bubble(t, func(t *testing.T, s *stage) {
		s.inPod()
		s.toTheEnd(t.Context(), t)
		events, lines = s.events, strings.Count(s.log.String(), "\n")
	})
	for n := 1; n < events && !t.Failed(); n += 2 * stride() {
		t.Run("orchestrator "+strconv.Itoa(n), func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				s.inPod()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				s.crashAt, s.crash = n, cancel
				s.toTheEnd(ctx, t)
			})
		})
	}
	for n := 1; n <= lines && !t.Failed(); n += 2 * stride() {
		t.Run("mover "+strconv.Itoa(n), func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				s.inPod()
				seen := 0
				s.kill = func(string) bool { seen++; return seen == n }
				s.toTheEnd(t.Context(), t)
			})
		})
	}
}
