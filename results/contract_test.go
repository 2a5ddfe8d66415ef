package results

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/google/go-cmp/cmp"

	"pipectl.dev/cloud"
	"pipectl.dev/engine"
	"pipectl.dev/kube"
	"pipectl.dev/kube/labtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
)

func TestMain(m *testing.M) { labtest.Main(m) }

var (
	_ engine.Store = (*Dir)(nil)
	_ engine.Store = (*ConfigMap)(nil)
	_ engine.Store = (*Bucket)(nil)
	_ engine.Vault = (*Dir)(nil)
	_ engine.Vault = (*ConfigMap)(nil)
	_ engine.Vault = (*Bucket)(nil)
)

var lab = steps.Identity{Cluster: "uid-lab", Pipeline: "blog"}

// cluster is the lab's API server and a namespace of its own for the test.
func cluster(t *testing.T, namespace string) *kube.Client {
	t.Helper()
	c, err := kube.Open(t.Context(), steps.ClusterRef{Kubeconfig: labtest.Cluster(t).Kubeconfig}, kube.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.EnsureNamespace(t.Context(), namespace, lab); err != nil {
		t.Fatal(err)
	}
	return c
}

// account is an emulated account with one bucket, "stages".
func account(t *testing.T, o emulator.Options) (*emulator.Cloud, func(region string) *cloud.Session) {
	t.Helper()
	c := emulator.New(o)
	t.Cleanup(c.Close)
	if err := c.MakeBucket("stages"); err != nil {
		t.Fatal(err)
	}
	return c, func(region string) *cloud.Session {
		cfg := aws.Config{Region: region, Credentials: credentials.NewStaticCredentialsProvider(emulator.FixtureAccessKey, emulator.FixtureSecretKey, "")}
		s, err := cloud.Open(t.Context(), cloud.Options{Config: &cfg, HTTPClient: &http.Client{Transport: c.RoundTripper()}, Speed: 100})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

// place opens one place again and again, as one process after the other does.
type place func(owner Owner) engine.Store

func places(t *testing.T) map[string]func(t *testing.T) place {
	return map[string]func(t *testing.T) place{
		"a directory": func(t *testing.T) place {
			dir := t.TempDir()
			return func(o Owner) engine.Store { return NewDir(dir, o) }
		},
		"a ConfigMap": func(t *testing.T) place {
			ns := "contract-" + strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
			ns = strings.Trim(ns[:min(len(ns), 50)], "-") + fmt.Sprintf("-%x", time.Now().UnixNano()&0xffff)
			c := cluster(t, ns)
			return func(o Owner) engine.Store {
				return NewConfigMap(c, Place{Namespace: ns, ConfigMap: "stages"}, o, lab)
			}
		},
		"a bucket": func(t *testing.T) place {
			_, session := account(t, emulator.Options{PageSize: 2})
			return func(o Owner) engine.Store {
				return NewBucket(session(emulator.FixtureRegion), Place{Bucket: "stages", Prefix: "a/b c+d"}, o)
			}
		},
	}
}

// everywhere runs a test over all stores.
func everywhere(t *testing.T, test func(t *testing.T, open place)) {
	t.Parallel()
	for name, open := range places(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

func compact(t *testing.T, r *steps.Result) steps.Result {
	t.Helper()
	if r == nil {
		t.Fatal("there is no result")
	}
	out := *r
	if out.Outputs != nil {
		var b bytes.Buffer
		if err := json.Compact(&b, out.Outputs); err != nil {
			t.Fatal(err)
		}
		out.Outputs = b.Bytes()
	}
	return out
}

func TestAnEmptyPlaceHasNothingAndIsNoError(t *testing.T) {
	everywhere(t, func(t *testing.T, open place) {
		s := open(blog)
		if r, err := s.Get(t.Context(), "home"); r != nil || err != nil {
			t.Errorf("get: %v, %v", r, err)
		}
		if l, err := s.List(t.Context()); len(l) != 0 || err != nil {
			t.Errorf("list: %v, %v", l, err)
		}
		if l, err := s.Runs(t.Context()); len(l) != 0 || err != nil {
			t.Errorf("runs: %v, %v", l, err)
		}
		if l, err := s.Journal(t.Context(), "r1"); len(l) != 0 || err != nil {
			t.Errorf("journal: %v, %v", l, err)
		}
	})
}

func TestWhatOneProcessPutAnotherGets(t *testing.T) {
	everywhere(t, func(t *testing.T, open place) {
		for _, stage := range []string{"home", "cluster", "home"} {
			if err := open(blog).Put(t.Context(), sample(stage)); err != nil {
				t.Fatal(err)
			}
		}
		later := open(blog)
		got, err := later.Get(t.Context(), "home")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(sample("home"), compact(t, got)); diff != "" {
			t.Errorf("get (-want +got):\n%s", diff)
		}
		list, err := later.List(t.Context())
		if err != nil || len(list) != 2 {
			t.Fatalf("list: %v, %v", list, err)
		}
		if diff := cmp.Diff([]steps.Result{sample("cluster"), sample("home")}, []steps.Result{compact(t, &list[0]), compact(t, &list[1])}); diff != "" {
			t.Errorf("list (-want +got):\n%s", diff)
		}
		if w := later.Where("home"); !strings.Contains(w, "home") || !strings.HasPrefix(w, later.Where("")) {
			t.Errorf("where: %s in %s", w, later.Where(""))
		}
	})
}

func TestAResultOfAnotherPipelineIsRefused(t *testing.T) {
	everywhere(t, func(t *testing.T, open place) {
		if err := open(blog).Put(t.Context(), sample("home")); err != nil {
			t.Fatal(err)
		}
		_, err := open(Owner{Pipeline: "shop", Identity: "1/eu/shop"}).Get(t.Context(), "home")
		if !hasCode(err, ForeignResult) {
			t.Errorf("another pipeline gets it: %v", err)
		}
		_, err = open(Owner{Pipeline: "blog", Identity: "2/eu/blog"}).Get(t.Context(), "home")
		if !hasCode(err, ForeignResult) {
			t.Errorf("another account gets it: %v", err)
		}
	})
}

func TestAJournalKeepsItsLinesAndRunsTheirOrder(t *testing.T) {
	everywhere(t, func(t *testing.T, open place) {
		for _, run := range []string{"2", "1", "10"} {
			for i := range 3 {
				if err := open(blog).Append(t.Context(), "2026010"+run, fmt.Appendf(nil, `{"n":%d}`, i)); err != nil {
					t.Fatal(err)
				}
			}
		}
		runs, err := open(blog).Runs(t.Context())
		if diff := cmp.Diff([]string{"20260101", "202601010", "20260102"}, runs); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
		lines, err := open(blog).Journal(t.Context(), "20260102")
		if got := string(bytes.Join(lines, []byte(" "))); err != nil || got != `{"n":0} {"n":1} {"n":2}` {
			t.Errorf("journal: %s, %v", got, err)
		}
	})
}

func TestWritersAtOnceLoseNothing(t *testing.T) {
	everywhere(t, func(t *testing.T, open place) {
		const writers, lines = 8, 4
		var wg sync.WaitGroup
		errs := make([]error, writers)
		for w := range writers {
			s := open(blog)
			wg.Go(func() {
				stage := fmt.Sprintf("stage%d", w)
				for i := range lines {
					errs[w] = errors.Join(errs[w], s.Append(t.Context(), "r1", fmt.Appendf(nil, `{"stage":%q,"n":%d}`, stage, i)), s.Put(t.Context(), sample(stage)))
				}
			})
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		list, err := open(blog).List(t.Context())
		if err != nil || len(list) != writers {
			t.Errorf("%d results of %d, %v", len(list), writers, err)
		}
		all, err := open(blog).Journal(t.Context(), "r1")
		if err != nil || len(all) != writers*lines {
			t.Errorf("%d lines of %d, %v", len(all), writers*lines, err)
		}
		next := map[string]int{}
		for _, l := range all {
			var e struct {
				Stage string
				N     int
			}
			if err := json.Unmarshal(l, &e); err != nil || e.N != next[e.Stage] {
				t.Errorf("line %s, want number %d, %v", l, next[e.Stage], err)
			}
			next[e.Stage]++
		}
	})
}

func TestAReaderSeesTheOldOrTheNewResultWhole(t *testing.T) {
	everywhere(t, func(t *testing.T, open place) {
		big := func(c string) steps.Result {
			r := sample("home")
			r.Outputs = []byte(`{"text":"` + strings.Repeat(c, 200_000) + `"}`)
			return r
		}
		if err := open(blog).Put(t.Context(), big("a")); err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() {
			var err error
			for i := range 10 {
				err = errors.Join(err, open(blog).Put(t.Context(), big(string(rune('b'+i)))))
			}
			done <- err
		}()
		reader := open(blog)
		for {
			select {
			case err := <-done:
				if err != nil {
					t.Error(err)
				}
				return
			default:
			}
			r, err := reader.Get(t.Context(), "home")
			if err != nil {
				<-done
				t.Fatal(err)
			}
			var o struct{ Text string }
			if err := json.Unmarshal(r.Outputs, &o); err != nil || o.Text != strings.Repeat(o.Text[:1], 200_000) {
				t.Errorf("half a result: %v", err)
			}
		}
	})
}

func TestSensitiveOutputsAreKeptApart(t *testing.T) {
	everywhere(t, func(t *testing.T, open place) {
		vault := func() engine.Vault { return open(blog).(engine.Vault) }
		kept := func(stage string) map[string]string {
			t.Helper()
			m, err := vault().Sensitive(t.Context(), stage)
			if err != nil {
				t.Fatal(err)
			}
			return maps.Collect(maps.All(m))
		}
		put := func(stage string, values map[string]string) {
			t.Helper()
			if err := vault().PutSensitive(t.Context(), stage, values); err != nil {
				t.Fatal(err)
			}
		}
		if m := kept("db"); len(m) != 0 {
			t.Errorf("an empty place: %v", m)
		}
		put("db", nil)
		put("db", map[string]string{"password": "o\x00pen sesame", "old": "x"})
		put("db2", map[string]string{"password": "other"})
		put("db", map[string]string{"password": "o\x00pen sesame"})
		if diff := cmp.Diff(map[string]string{"password": "o\x00pen sesame"}, kept("db")); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if err := open(blog).Put(t.Context(), sample("db")); err != nil {
			t.Fatal(err)
		}
		list, err := open(blog).List(t.Context())
		if err != nil || len(list) != 1 {
			t.Errorf("list: %v, %v", list, err)
		}
		if raw, err := json.Marshal(list); err != nil || bytes.Contains(raw, []byte("sesame")) {
			t.Errorf("a result tells it: %s, %v", raw, err)
		}
		put("db", nil)
		if m := kept("db"); len(m) != 0 {
			t.Errorf("removed, and still there: %v", m)
		}
		if diff := cmp.Diff(map[string]string{"password": "other"}, kept("db2")); diff != "" {
			t.Errorf("another stage's (-want +got):\n%s", diff)
		}
	})
}
