package jenkinshome

import (
	"strings"
	"testing"
	"time"

	"pipectl.dev/steps"
)

// heldLeases are those that somebody holds.
func (s *stage) heldLeases() []string {
	var out []string
	for _, path := range s.old.list(oldLeases) {
		if sub(s.old.get(path), "spec")["holderIdentity"] != nil {
			out = append(out, path)
		}
	}
	return out
}

func TestASecondMoverIsRefusedAndToldWhoMoves(t *testing.T) {
	for name, c := range map[string]struct {
		set func(s *stage, p *PrecopySpec) // what the second one wants
	}{
		"of the same move":                     {func(*stage, *PrecopySpec) {}},
		"of the same workload to another disk": {func(s *stage, p *PrecopySpec) { p.Volume = s.seed(s.t, "ap-northeast-2a", nil) }},
		"of another workload to the same disk": {func(s *stage, p *PrecopySpec) {
			s.old.put(strings.TrimSuffix(oldDeploy, "jenkins")+"ci", s.old.get(oldDeploy))
			p.From.Workload = "deployment/ci"
		}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				first, copying, goOn := make(chan error), make(chan struct{}), make(chan struct{})
				s.on("pass done", func() { close(copying); <-goOn }) // the first mover stands in the middle of its copy
				go func() {
					_, err := precopyStep{s.base()}.Apply(t.Context(), s.env("run-1"), s.precopySpec())
					first <- err
				}()
				<-copying
				p := s.precopySpec()
				c.set(s, &p)
				// Where the tag of the volume already tells of the first, it is that which refuses.
				_ = writeTags(t.Context(), s.aws, s.volume, map[string]string{tagSource: ""})
				_, err := precopyStep{s.base()}.Apply(t.Context(), s.env("run-2"), p)
				if code(err) != "MoverRunning" || !strings.Contains(err.Error(), "run run-1 of ") || steps.Classify(err).Category.ExitCode() != 12 {
					t.Errorf("got %v", err)
				}
				close(goOn)
				if err := <-first; err != nil {
					t.Errorf("the first: %v", err)
				}
				if l := s.heldLeases(); len(l) > 0 {
					t.Errorf("left behind: %v", l)
				}
			})
		})
	}
}

func TestAMoverWhoseLeaseWentToAnotherStops(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		s.on("pass done", func() {
			for _, l := range s.old.list(oldLeases) {
				s.old.edit(l, func(o map[string]any) {
					sub(sub(o, "metadata"), "annotations")["pipectl.dev/holder"] = `{"runId":"run-9","who":"me","host":"there","pid":1,"expires":"2030-01-01T00:00:00Z"}`
				})
			}
			time.Sleep(time.Minute)
		})
		if _, err := s.precopy(t.Context()); code(err) != "LeaseLost" || steps.Classify(err).Category.ExitCode() != 12 {
			t.Errorf("got %v", err)
		}
		s.safe(t)
	})
}

func TestADeadMoversLeaseIsTakenOver(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		k, err := s.connect(steps.ClusterRef{}, s.old)
		if err != nil {
			t.Fatal(err)
		}
		m := &mission{move: s.precopySpec().move()}
		by := m.holder()
		by.RunID, by.Host = "run-0", "a machine that is gone"
		var leases []steps.Lease
		for _, key := range m.leaseKeys() {
			l, err := k.Locks("jenkins").Lock(t.Context(), key, by, 0)
			if err != nil {
				t.Fatal(err)
			}
			leases = append(leases, l)
		}
		kept := map[string]map[string]any{}
		for _, path := range s.old.list(oldLeases) {
			kept[path] = s.old.get(path)
		}
		for _, l := range leases { // ends the heartbeats
			_ = l.Release(t.Context())
		}
		for path, o := range kept { // a machine that died would not have let go
			s.old.put(path, o)
		}
		began := time.Now()
		s.on("device found", func() {
			if took := time.Since(began); took < time.Minute || took > 70*time.Second { // both leases at once, not one after the other
				t.Errorf("taken over after %s", took)
			}
		})
		if _, err := s.precopy(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
