package kube_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"path"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	coordv1 "k8s.io/api/coordination/v1"
	"k8s.io/client-go/rest"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

// leases is as much of an API server as Leases need, in this process.
type leases struct {
	mu    sync.Mutex
	there map[string]*coordv1.Lease
	rv    int
	clock map[string]time.Duration // by run: what its machine's clock is ahead
	cut   map[string]bool          // runs whose network is gone
}

func newLeases() *leases {
	return &leases{there: map[string]*coordv1.Lease{}, clock: map[string]time.Duration{}, cut: map[string]bool{}}
}

// locks are those of a process of its own.
func (s *leases) locks(run string) *kube.Locks {
	return kube.ForTest(&rest.Config{Host: "https://cluster.invalid", Transport: transport(func(r *http.Request) (*http.Response, error) {
		if s.isCut(run) {
			return nil, errors.New("no route to host")
		}
		return s.serve(r, s.clock[run])
	})}).Locks("jenkins")
}

func (s *leases) isCut(run string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cut[run]
}

func (s *leases) serve(r *http.Request, ahead time.Duration) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	status := func(code int, reason string) (*http.Response, error) {
		return answer(code, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"`+reason+`","code":`+strconv.Itoa(code)+`}`), nil
	}
	name := path.Base(r.URL.Path)
	if r.Method != http.MethodGet {
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		var sent coordv1.Lease
		if err := json.Unmarshal(raw, &sent); err != nil {
			return nil, err
		}
		old := s.there[sent.Name]
		switch {
		case r.Method == http.MethodPost && old != nil:
			return status(http.StatusConflict, "AlreadyExists")
		case r.Method == http.MethodPut && old == nil:
			return status(http.StatusNotFound, "NotFound")
		case r.Method == http.MethodPut && sent.ResourceVersion != old.ResourceVersion:
			return status(http.StatusConflict, "Conflict")
		}
		name = sent.Name
		s.rv++
		sent.ResourceVersion = strconv.Itoa(s.rv)
		s.there[name] = shifted(&sent, ahead)
	}
	if s.there[name] == nil {
		return status(http.StatusNotFound, "NotFound")
	}
	raw, err := json.Marshal(s.there[name])
	return answer(http.StatusOK, string(raw)), err
}

// shifted is l as a machine whose clock is ahead would have written it.
func shifted(l *coordv1.Lease, ahead time.Duration) *coordv1.Lease {
	var h steps.Holder
	if json.Unmarshal([]byte(l.Annotations["pipectl.dev/holder"]), &h) == nil {
		h.Expires = h.Expires.Add(ahead)
		raw, _ := json.Marshal(h) //nolint:errchkjson // plain fields only
		l.Annotations["pipectl.dev/holder"] = string(raw)
	}
	l.APIVersion, l.Kind = "coordination.k8s.io/v1", "Lease"
	return l
}

func TestLeasesAreJudgedByWhatIsSeenNotByClocks(t *testing.T) {
	for clock, ahead := range map[string]time.Duration{"right": 0, "an hour fast": time.Hour, "an hour slow": -time.Hour} {
		for name, c := range map[string]struct {
			cut, release time.Duration // when the holder's network is gone, or it lets go; 0: never
			wait         time.Duration
			taken        bool
			after        time.Duration
		}{
			"one that renews keeps its lease for an hour":    {wait: time.Hour, after: time.Hour},
			"one that was seen alive is named, then cut off": {cut: 70 * time.Second, wait: 10 * time.Second, after: 20 * time.Second},
			"one that is cut off at once is taken over":      {cut: time.Millisecond, wait: 10 * time.Second, taken: true, after: time.Minute},
			"one that is cut off later is taken over later":  {cut: 70 * time.Second, wait: 5 * time.Minute, taken: true, after: 2 * time.Minute},
			"one that lets go is followed":                   {release: 30 * time.Second, wait: 5 * time.Minute, taken: true, after: 30 * time.Second},
		} {
			t.Run(name+", its clock "+clock, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newLeases()
					s.clock["first"] = ahead
					first, err := s.locks("first").Lock(t.Context(), "id/stage", steps.Holder{RunID: "first", Host: "there"}, 0)
					if err != nil {
						t.Fatal(err)
					}
					began := time.Now()
					if c.cut > 0 {
						time.AfterFunc(c.cut, func() { s.mu.Lock(); defer s.mu.Unlock(); s.cut["first"] = true })
					}
					if c.release > 0 {
						time.AfterFunc(c.release, func() { _ = first.Release(t.Context()) })
					}
					second, err := s.locks("second").Lock(t.Context(), "id/stage", steps.Holder{RunID: "second", Host: "here"}, c.wait)
					if took := time.Since(began); (err == nil) != c.taken || took < c.after || took > c.after+3*time.Second {
						t.Errorf("after %s: %v", took, err)
					}
					if c.cut > 0 && err == nil {
						select {
						case <-first.Lost():
						default:
							t.Error("two hold the lease: the first does not know that it was taken over")
						}
					}
					if err == nil {
						err = second.Release(t.Context())
					}
					if c.cut == 0 && c.release == 0 {
						err = first.Release(t.Context())
					}
					if c.taken && err != nil {
						t.Error(err)
					}
					_ = first.Release(t.Context()) // ends its heartbeat
				})
			})
		}
	}
}

func TestOfTwoThatWaitForADeadOnesLeaseOneFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newLeases()
		dead, err := s.locks("dead").Lock(t.Context(), "id/stage", steps.Holder{RunID: "dead", Host: "there"}, 0)
		if err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		s.cut["dead"] = true
		s.mu.Unlock()
		ends := make(chan error)
		for _, run := range []string{"a", "b"} {
			go func() {
				l, err := s.locks(run).Lock(t.Context(), "id/stage", steps.Holder{RunID: run, Host: run}, 2*time.Minute)
				if err == nil {
					time.Sleep(5 * time.Minute)
					err = l.Release(t.Context())
				}
				ends <- err
			}()
		}
		refused, followed := <-ends, <-ends
		if !kube.HasCode(refused, "Locked") || followed != nil {
			t.Errorf("%v, %v", refused, followed)
		}
		_ = dead.Release(t.Context())
	})
}

func TestFreeAndOwnLeasesAreTakenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, began := newLeases(), time.Now()
		mine := steps.Holder{RunID: "mine", Host: "here"}
		first, err := s.locks("mine").Lock(t.Context(), "id/stage", mine, 0)
		if err != nil {
			t.Fatal(err)
		}
		again, err := s.locks("again").Lock(t.Context(), "id/stage", steps.Holder{RunID: "mine", Host: "another pod"}, time.Hour)
		if err != nil {
			t.Fatalf("the run that was resumed elsewhere: %v", err)
		}
		if err := again.Release(t.Context()); err != nil {
			t.Error(err)
		}
		other, err := s.locks("other").Lock(t.Context(), "id/stage", steps.Holder{RunID: "other", Host: "there"}, 0)
		if err != nil {
			t.Fatalf("after its release: %v", err)
		}
		_, _ = first.Release(t.Context()), other.Release(t.Context())
		if took := time.Since(began); took != 0 {
			t.Errorf("took %s", took)
		}
	})
}
