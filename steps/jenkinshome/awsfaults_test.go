package jenkinshome

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"pipectl.dev/cloud/cloudtest/calls"
	emu "pipectl.dev/rehearsal/aws"
)

// awsWrongs is what may go wrong with a call; "killed" ends the orchestrator as soon as the call is committed, "killed before" right before.
var awsWrongs = []string{"killed before", "killed", "lost-response", "throttle", "500", "reset", "access-denied", "expired-token"}

// ways are moves that together make every call of these steps.
var ways = map[string]func(*testing.T, *stage){
	"attach":   func(*testing.T, *stage) {},
	"snapshot": func(t *testing.T, s *stage) { s.apart(t) },
	"stream":   func(t *testing.T, s *stage) { s.outside(t) },
	"turned back": func(_ *testing.T, s *stage) { // and moved again: what the first attempt wrote is removed
		s.failOnce = true
	},
}

// lifeOfAMove goes through the stages until they are done, and lets the old node go before that once.
func (s *stage) lifeOfAMove(ctx context.Context, t *testing.T) {
	t.Helper()
	s.toTheEnd(ctx, t)
	if left := s.ownedDisks(t); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if v := s.ebs(); v.State != "available" {
		t.Errorf("the volume is %s", v.State)
	}
}

type awsCall struct {
	service, action string
	of              int
}

// TestEveryAWSCallOfAMoveMayGoWrong is the crash matrix of these steps: every distinct call to AWS, at one of its uses, with what can go
// wrong with it; a plain run draws one of the eight for each call by a seed that it prints (PIPECTL_SEED repeats it),
// PIPECTL_MATRIX=full runs all. After each the stages are run again as a user would, no Jenkins is lost on the way, and the end is the same.
func TestEveryAWSCallOfAMoveMayGoWrong(t *testing.T) {
	began := rand.Uint64()
	if text := os.Getenv("PIPECTL_SEED"); text != "" {
		var err error
		if began, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	pick := rand.New(rand.NewPCG(began, 0))
	t.Logf("PIPECTL_SEED=%d", began)
	disturbed := map[string]bool{}
	for _, way := range slices.Sorted(func(yield func(string) bool) {
		for name := range ways {
			if !yield(name) {
				return
			}
		}
	}) {
		for _, c := range callsOf(t, way) {
			disturbed[c.service+":"+c.action] = true
			kinds := awsWrongs
			if os.Getenv("PIPECTL_MATRIX") != "full" {
				kinds = []string{awsWrongs[pick.IntN(len(awsWrongs))]}
			}
			for _, kind := range kinds {
				at := 1 + pick.IntN(c.of)
				t.Run(fmt.Sprintf("%s/%s %d of %d %s", way, c.action, at, c.of, kind), func(t *testing.T) {
					bubble(t, func(t *testing.T, s *stage) { s.disturb(t, way, c, at, kind) })
				})
			}
		}
	}
	for _, call := range callsInSource(t) {
		if !disturbed[call] {
			t.Errorf("%s goes wrong in no scenario: let a way make it", call)
		}
	}
}

func callsOf(t *testing.T, way string) []awsCall {
	t.Helper()
	var out []awsCall
	bubble(t, func(t *testing.T, s *stage) {
		ways[way](t, s)
		mark := s.cloud.Mark()
		s.lifeOfAMove(t.Context(), t)
		for _, c := range s.cloud.Since(mark) {
			i := slices.IndexFunc(out, func(x awsCall) bool { return x.service == c.Service && x.action == c.Action })
			if i < 0 {
				out, i = append(out, awsCall{service: c.Service, action: c.Action}), len(out)
			}
			out[i].of++
		}
	})
	return out
}

// disturb lives a move with one call gone wrong.
func (s *stage) disturb(t *testing.T, way string, c awsCall, at int, kind string) {
	ways[way](t, s)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	fault := map[string]string{"killed": "lost-response", "killed before": "reset"}[kind]
	if fault == "" {
		fault = kind
	} else {
		seen := 0
		s.onCall = func(x emu.Call) {
			if x.Service == c.service && x.Action == c.action {
				if seen++; seen == at {
					cancel()
				}
			}
		}
	}
	s.cloud.AddFault(emu.Fault{Service: c.service, Action: c.action, Kind: fault, At: at})
	s.lifeOfAMove(ctx, t)
}

// callsInSource are the calls to AWS that the package's own code makes.
func callsInSource(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, c := range calls.In(t, "*.go") {
		if call := c.IAM(); !slices.Contains(out, call) {
			out = append(out, call)
		}
	}
	return out
}
