//go:build bench

package syncargocd_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pipectl.dev/kube"
	"pipectl.dev/kube/labtest"
)

// The figures of bench/syncargocd: run.sh there builds what they need and runs them. Each is one line, so that a table can be made of it.

// Argo CD looks at each Application as often as it does by itself. The lab has it look eight times as often, which for hundreds of them is more
// work than their syncs.
func init() { settings = "timeout.reconciliation: 120s, timeout.reconciliation.jitter: 60s" }

// setting reads how much is measured.
func setting(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// counted makes requests to Kubernetes through a counter.
func (a *argo) counted(n *atomic.Int64) {
	a.t.Helper()
	a.through(func(*http.Request) *http.Response {
		n.Add(1)
		return nil
	})
}

// What is counted: requests that argocd-server has had, by gRPC and through its gateway; and in the application controller, comparisons with
// Git and requests to the cluster.
var (
	handled    = regexp.MustCompile(`(?m)^grpc_server_started_total\{.*\} ([0-9.e+]+)$`)
	reconciled = regexp.MustCompile(`(?m)^argocd_app_reconcile_count\{.*\} ([0-9.e+]+)$`)
	requests   = regexp.MustCompile(`(?m)^argocd_app_k8s_request_total\{.*\} ([0-9.e+]+)$`)
)

// count adds up a metric of one of Argo CD's programs.
func (a *argo) count(metrics string, which *regexp.Regexp) int64 {
	a.t.Helper()
	resp, err := http.Get("http://" + metrics + "/metrics") //nolint:noctx // a test's own server
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	total := 0.0
	for _, m := range which.FindAllSubmatch(raw, -1) {
		n, err := strconv.ParseFloat(string(m[1]), 64)
		if err != nil {
			a.t.Fatal(err)
		}
		total += n
	}
	return int64(total)
}

// cli runs the argocd command line against the same server.
func (a *argo) cli(args ...string) {
	a.t.Helper()
	dir := a.t.TempDir()
	crt := filepath.Join(dir, "ca.crt")
	if err := os.WriteFile(crt, []byte(server.ca), 0o600); err != nil {
		a.t.Fatal(err)
	}
	cmd := exec.CommandContext(a.t.Context(), os.Getenv("ARGOCD_CLI"), args...) //nolint:gosec // what is measured
	cmd.Env = append(os.Environ(), "ARGOCD_SERVER="+strings.TrimPrefix(server.url, "https://"), "ARGOCD_AUTH_TOKEN="+server.token, "ARGOCD_OPTS=--server-crt="+crt, "HOME="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		a.t.Fatalf("argocd %v: %v: %s", args, err, out[max(0, len(out)-2000):])
	}
}

func TestBenchManyApplications(t *testing.T) {
	a := start(t)
	n := setting("BENCH_APPS", 200)
	change := func(value string) {
		files := map[string]string{}
		for i := range n {
			files[fmt.Sprintf("many/%03d/cm.yaml", i)] = config(fmt.Sprintf("many-%03d", i), value)
		}
		a.commit(files)
	}
	change("v0")
	a.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: many}\n")
	for i := range n {
		name := fmt.Sprintf("many-%03d", i)
		a.app(name, fmt.Sprintf("many/%03d", i), "")
		a.patch(name, `{"metadata":{"labels":{"bench":"yes"}},"spec":{"destination":{"namespace":"many"}}}`)
	}
	with := fmt.Sprintf("apps: [{selector: bench=yes, expect: %d}]\nhealthyFor: 1ms\nmaxParallel: %d\n", n, setting("BENCH_PARALLEL", 20))
	a.synced(with)
	metrics := labtest.Cluster(t).Service(t, "argocd", "argocd-server-metrics", 8083)
	controller := labtest.Cluster(t).Service(t, "argocd", "argocd-metrics", 8082)
	var toKube atomic.Int64
	all := "bench=yes"
	argocd := func() { a.cli("app", "sync", "-l", all); a.cli("app", "wait", "-l", all) }
	by := func(way, more string) func() {
		with := with + more
		return func() {
			a.way = way
			if p := a.plan(with); p.Outputs == nil { // as a run does: what a plan finds in order is not applied
				a.synced(with)
			}
		}
	}
	a.counted(&toKube)
	for round := range setting("BENCH_ROUNDS", 1) {
		for _, c := range []struct {
			name string
			run  func()
		}{{"argocd", argocd}, {"pipectl server", by("server", "")}, {"pipectl cluster", by("cluster", "")}, {"pipectl cluster, shared", by("cluster", "refresh: shared\n")}} {
			if only := os.Getenv("BENCH_TOOL"); only != "" && only != c.name {
				continue
			}
			for _, what := range []string{"unchanged", "changed"} {
				value := fmt.Sprintf("%d-%s-%s", round, strings.NewReplacer(" ", "-", ",", "").Replace(c.name), what)
				if what == "changed" {
					change(value)
				}
				before, asked, compared, made := a.operations(n), a.count(metrics, handled), a.count(controller, reconciled), a.count(controller, requests)
				toKube.Store(0)
				cpu, began := processors(t), time.Now()
				c.run()
				took := time.Since(began)
				t.Logf("FIGURE processor time, %s, %s: %s", what, c.name, spent(cpu, processors(t)))
				t.Logf("FIGURE application controller, %s, %s: %d comparisons, %d requests to Kubernetes", what, c.name,
					a.count(controller, reconciled)-compared, a.count(controller, requests)-made)
				t.Logf("FIGURE %d apps, %s, %s: %.2f s, %d requests to argocd-server, %d to Kubernetes, %d operations",
					n, what, c.name, took.Seconds(), a.count(metrics, handled)-asked, toKube.Load(), a.operations(n)-before)
				if what == "changed" && a.value("many", fmt.Sprintf("many-%03d", n-1)) != value {
					t.Errorf("%s: what is live is stale", c.name)
				}
			}
		}
	}
}

// operations is how many operations have been made on the first Applications of the bench.
func (a *argo) operations(n int) int {
	total := 0
	for i := range n {
		var last struct {
			Status struct {
				History []struct {
					ID int `json:"id"`
				} `json:"history"`
			} `json:"status"`
		}
		raw, err := json.Marshal(a.object(kube.ApplicationRef("argocd", fmt.Sprintf("many-%03d", i))))
		if err != nil || json.Unmarshal(raw, &last) != nil {
			a.t.Fatal(err)
		}
		if h := last.Status.History; len(h) > 0 {
			total += h[len(h)-1].ID + 1
		}
	}
	return total
}

func TestBenchCycles(t *testing.T) {
	ways(t, func(a *argo) {
		name, stale := "cycles-"+a.way, 0
		a.commit(map[string]string{"c/cm.yaml": config("c", "start")})
		a.app(name, "c", "")
		n := setting("BENCH_CYCLES", 100)
		began := time.Now()
		for i := range n {
			value := fmt.Sprintf("v%d", i)
			head := a.commit(map[string]string{"c/cm.yaml": config("c", value)})
			out := a.synced("apps: [{name: " + name + "}]\nhealthyFor: 1ms\n").Apps[name]
			if out.Revision != head || out.Sync != "Synced" || !out.Changed || a.value(name, "c") != value {
				stale++
				a.t.Errorf("cycle %d is stale: %+v", i, out)
			}
		}
		a.t.Logf("FIGURE %d cycles of commit, sync, wait by %s: %d stale, %.2f s each", n, a.way, stale, time.Since(began).Seconds()/float64(n))
	})
}

// TestBenchMemory runs the binary itself, and reads what the kernel says of its peak.
func TestBenchMemory(t *testing.T) {
	ways(t, func(a *argo) {
		n := setting("BENCH_MEMORY_APPS", 1000)
		a.commit(map[string]string{"big/cm.yaml": config("big", "x")})
		var all strings.Builder
		var names []string
		for i := range n {
			name := fmt.Sprintf("big-%04d", i)
			names = append(names, name)
			all.WriteString("---\n" + strings.Replace(a.manifest(name, "big", ""), "labels: {test: "+name+"}", "labels: {big: yes-"+a.way+"}", 1))
		}
		a.apply(all.String())
		a.gone(names...)
		pipeline := filepath.Join(t.TempDir(), "pipectl.yaml")
		text := "apiVersion: pipectl.dev/v1\nkind: Pipeline\nmetadata: {name: big}\nspec:\n  params:\n    token: {type: secret, from: {env: BENCH_TOKEN}}\n  stages:\n    - name: apps\n      step: sync-argocd\n      with:\n        "
		access := a.access()
		if a.way == "server" {
			access = fmt.Sprintf("server: {url: %q, token: \"${{ params.token }}\", ca: %q}\n", server.url, server.ca)
		}
		text += access + "        apps: [{selector: big=yes-" + a.way + "}]\n"
		if err := os.WriteFile(pipeline, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, os.Getenv("PIPECTL_BIN"), "plan", pipeline) //nolint:gosec // what is measured
		cmd.Env = append(os.Environ(), "BENCH_TOKEN="+server.token, "KUBECONFIG="+labtest.Cluster(t).Kubeconfig)
		began := time.Now()
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		usage, _ := cmd.ProcessState.SysUsage().(*syscall.Rusage)
		t.Logf("FIGURE plan of %d apps by %s: peak memory %d MB, %.1f s, exit %d\n%s", n, a.way, usage.Maxrss/1024, time.Since(began).Seconds(), cmd.ProcessState.ExitCode(), out[max(0, len(out)-600):])
	})
}
