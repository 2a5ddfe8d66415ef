package provisioneks_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/provisioneks"
)

// What can go wrong with a call. "killed" cuts the client dead as soon as the call is committed, "killed before" right before it is.
var wrongs = []string{"lost-response", "500", "throttle", "reset", "access-denied", "expired-token", "killed", "killed before"}

// call is one distinct call, at its first use.
type call struct {
	service, action string
	write           bool
}

func distinct(calls []emulator.Call) []call {
	var out []call
	for _, c := range calls {
		if x := (call{c.Service, c.Action, c.Write}); !slices.Contains(out, x) {
			out = append(out, x)
		}
	}
	return out
}

// scenario runs work with one call gone wrong, in a world that prepare made.
type scenario struct {
	call    call
	wrong   string
	prepare func(*testing.T, *cloudtest.World)
	work    func(context.Context, *cloudtest.World, steps.Definition) error
}

// run lets the work fail at most a few times, each time as a new process, until it converges.
func (s scenario) run(t *testing.T) []string {
	w := cloudtest.New(t, emulator.Options{Seed: 31, LagLists: true})
	if s.prepare != nil {
		s.prepare(t, w)
	}
	open, kill := w.Process()
	ctx, cancel := context.WithCancel(t.Context())
	switch s.wrong {
	case "killed", "killed before":
		stop := func() { kill(); cancel() }
		kind := map[string]string{"killed": "lost-response", "killed before": "reset"}[s.wrong]
		w.AddFault(emulator.Fault{Service: s.call.service, Action: s.call.action, Kind: kind})
		w.OnCall(s.call.service, s.call.action, stop)
	default:
		w.AddFault(emulator.Fault{Service: s.call.service, Action: s.call.action, Kind: s.wrong})
	}
	err := s.work(ctx, w, provisioneks.New(open))
	cancel()
	// A look that fails once is made again by whoever needs it; a kill, or a write that is refused, must be told.
	loud := s.wrong == "killed" || s.wrong == "killed before" || s.call.write && (s.wrong == "access-denied" || s.wrong == "expired-token")
	if err == nil && loud {
		t.Errorf("%v %s: went unnoticed", s.call, s.wrong)
	}
	for try := 0; err != nil; try++ {
		if try == 3 {
			t.Fatalf("%v %s: does not converge: %v", s.call, s.wrong, err)
		}
		open, _ = w.Process()
		err = s.work(t.Context(), w, provisioneks.New(open))
	}
	w.NoDuplicates(t)
	return w.Owned()
}

// matrix runs every call of an undisturbed run with things gone wrong: all of them when PIPECTL_MATRIX=full, else two each, by a seed
// that is printed.
func matrix(t *testing.T, calls []call, want []string, base scenario) {
	t.Helper()
	seed := rand.Uint64()
	pick := rand.New(rand.NewPCG(seed, 0))
	n := 0
	for _, c := range calls {
		kinds := wrongs
		if os.Getenv("PIPECTL_MATRIX") != "full" {
			i := pick.IntN(len(wrongs))
			kinds = []string{wrongs[i], wrongs[(i+3)%len(wrongs)]}
		}
		for _, wrong := range kinds {
			n++
			t.Run(fmt.Sprintf("%s:%s %s", c.service, c.action, wrong), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := base
					s.call, s.wrong = c, wrong
					if diff := cmp.Diff(want, s.run(t)); diff != "" {
						t.Errorf("resources differ from those of an undisturbed run (-want +got):\n%s", diff)
					}
				})
			})
		}
	}
	t.Logf("%d scenarios over %d calls, seed %d", n, len(calls), seed)
}

func create(t *testing.T) func(context.Context, *cloudtest.World, steps.Definition) error {
	return func(ctx context.Context, w *cloudtest.World, d steps.Definition) error {
		_, err := w.Apply(ctx, d, cloudtest.Input(t, post))
		return err
	}
}

func down(t *testing.T) func(context.Context, *cloudtest.World, steps.Definition) error {
	return func(ctx context.Context, w *cloudtest.World, d steps.Definition) error {
		return w.Down(ctx, d, cloudtest.Input(t, post), false)
	}
}

func TestCreateConvergesWhateverGoesWrongWithAnyCall(t *testing.T) {
	var calls []call
	var want []string
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 31, LagLists: true})
		if err := create(t)(t.Context(), w, provisioneks.New(w.Open)); err != nil {
			t.Fatal(err)
		}
		calls, want = distinct(w.Calls()), w.Owned()
	})
	matrix(t, calls, want, scenario{work: create(t)})
}

func TestDownConvergesWhateverGoesWrongWithAnyCall(t *testing.T) {
	prepare := func(t *testing.T, w *cloudtest.World) {
		if err := create(t)(t.Context(), w, provisioneks.New(w.Open)); err != nil {
			t.Fatal(err)
		}
	}
	var calls []call
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 31, LagLists: true})
		prepare(t, w)
		mark := w.Mark()
		if err := down(t)(t.Context(), w, provisioneks.New(w.Open)); err != nil {
			t.Fatal(err)
		}
		calls = distinct(w.Since(mark))
	})
	matrix(t, calls, nil, scenario{prepare: prepare, work: down(t)})
}
