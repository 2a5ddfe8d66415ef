package jenkinshome

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

func isJob(path string) bool {
	return strings.HasPrefix(path, oldJobs) || strings.HasPrefix(path, copyJobs)
}

// runJob starts a Job's pods one after the other, as often as it may fail.
func (s *stage) runJob(path string) {
	var job batchv1.Job
	raw, _ := json.Marshal(s.old.get(path))
	if json.Unmarshal(raw, &job) != nil || job.Name == "" || s.noMover {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.mu.Lock()
	s.cancels[job.Name] = cancel
	s.mu.Unlock()
	s.running.Add(1)
	defer s.running.Done()
	defer cancel()
	condition := "Failed"
	for try := int32(0); try <= *job.Spec.BackoffLimit && ctx.Err() == nil; try++ {
		if code := s.runPod(ctx, &job, try); code == 0 {
			condition = "Complete"
			break
		}
		time.Sleep(5 * time.Second)
	}
	s.old.edit(path, func(o map[string]any) {
		sub(o, "status")["conditions"] = []any{map[string]any{"type": condition, "status": "True"}}
	})
}

// runPod runs the mover in this process; its container's paths are replaced by directories.
func (s *stage) runPod(ctx context.Context, job *batchv1.Job, try int32) int {
	name := job.Name + "-" + string(rune('a'+try))
	path := "/api/v1/namespaces/" + job.Namespace + "/pods/" + name
	s.old.put(path, map[string]any{"apiVersion": "v1", "kind": "Pod",
		"metadata": map[string]any{"name": name, "namespace": job.Namespace, "creationTimestamp": time.Now().UTC().Format(time.RFC3339), "labels": map[string]any{batchv1.JobNameLabel: job.Name}},
		"spec":     map[string]any{"nodeName": "node-1", "containers": []any{map[string]any{"name": "mover"}}}, "status": map[string]any{"phase": "Running"}})
	dir, err := os.MkdirTemp(s.dir, "pod-")
	if err != nil {
		return 128
	}
	args := s.materialise(job.Namespace, job.Spec.Template.Spec, dir)
	message := filepath.Join(dir, "message")
	_ = os.WriteFile(message, nil, 0o600)
	life, die := context.WithCancelCause(ctx)
	defer die(nil)
	w := &killer{s: s, die: die}
	code := runMover(life, args[1:], w, message, func(context.Context) (*kube.Client, error) {
		return s.connect(steps.ClusterRef{}, w.guard(s.old))
	})
	text, _ := os.ReadFile(message)
	if w.dead() { // killed: no message, no exit code of its own
		code, text = 137, nil
	}
	if ctx.Err() != nil {
		s.old.remove(path)
		return code
	}
	s.old.edit(path, func(o map[string]any) {
		st := sub(o, "status")
		st["phase"] = "Succeeded"
		st["containerStatuses"] = []any{map[string]any{"name": "mover", "state": map[string]any{"terminated": map[string]any{"exitCode": code, "reason": "x", "message": string(text)}}}}
	})
	go func() { // the garbage collector: pods go with their Job
		for s.old.get("/apis/batch/v1/namespaces/"+job.Namespace+"/jobs/"+job.Name) != nil {
			time.Sleep(time.Second)
		}
		s.old.remove(path)
	}()
	return code
}

func (s *stage) materialise(namespace string, p corev1.PodSpec, dir string) []string {
	token := filepath.Join(dir, "jenkins")
	for _, v := range p.Volumes {
		_ = os.MkdirAll(filepath.Join(dir, v.Name), 0o755)
		if v.Secret != nil {
			for key, text := range sub(s.old.get("/api/v1/namespaces/"+namespace+"/secrets/"+v.Secret.SecretName), "data") {
				_ = os.WriteFile(filepath.Join(dir, v.Name, key), decode64(text.(string)), 0o600)
			}
		}
	}
	target := filepath.Join(dir, "target")
	for _, v := range p.Volumes {
		if v.Name == "target" && v.PersistentVolumeClaim != nil { // the driver has formatted and mounted it
			target = s.disk()
			_ = os.MkdirAll(target, 0o755)
			if !s.unmounted {
				_ = os.Symlink(filepath.Join(s.dir, "volume"), filepath.Join(s.dir, "devices", s.volume)) // it may be there
			}
		}
	}
	swap := strings.NewReplacer(dirSource, s.home(), dirTarget, target, dirScratch, filepath.Join(dir, "scratch"), dirJenkins, token, dirKeys, filepath.Join(dir, "keys"), dirHost, dir)
	var out []string
	for _, a := range p.Containers[0].Args {
		out = append(out, swap.Replace(a))
	}
	return out
}

// killer is a mover's log; it may end the mover in the middle, as a crash does.
type killer struct {
	s    *stage
	die  context.CancelCauseFunc
	mu   sync.Mutex
	gone bool
}

var errKilled = errors.New("killed")

func (k *killer) Write(p []byte) (int, error) {
	k.s.logMu.Lock()
	k.s.log.Write(p)
	k.s.logMu.Unlock()
	k.s.mu.Lock()
	kill := k.s.kill
	k.s.mu.Unlock()
	if kill != nil && kill(string(p)) {
		k.mu.Lock()
		k.gone = true
		k.mu.Unlock()
		k.die(errKilled)
	}
	return len(p), nil
}

func (k *killer) dead() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.gone
}

// RoundTrip lets a killed mover do nothing more: whatever it calls does not get out.
func (k *killer) guard(next http.RoundTripper) http.RoundTripper {
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		if k.dead() {
			return nil, errKilled
		}
		return next.RoundTrip(r)
	})
}
