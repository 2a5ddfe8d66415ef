package catalog_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/catalog"
)

// What can go wrong with a call. "killed" ends the client as soon as the call is committed, "killed before" right before it is.
var wrongs = []string{"killed before", "killed", "lost-response", "throttle", "500", "reset", "access-denied", "expired-token"}

// stage is one use of a step in a life.
type stage struct{ step, with string }

// phase is one run of a life, or one way down.
type phase struct {
	name     string
	stages   []stage
	before   func(*testing.T, *cloudtest.World) // what others do to the account first
	down     bool
	withData bool
	prune    bool
}

// life is a row of phases, each of which must converge whatever goes wrong with any of its calls.
type life struct {
	name   string
	issuer string // of a cluster that EKS does not run; "": blog is one of EKS
	phases []phase
}

// process is one client of the account, with the steps that it runs.
type process struct {
	steps map[string]steps.Definition
	kill  func()
}

// run does one phase as the engine would: stages in order on the way up, backwards in two passes on the way down.
func (p phase) run(ctx context.Context, t *testing.T, w *cloudtest.World, proc process) error {
	if w.Prune = p.prune; !p.down {
		for _, s := range p.stages {
			if _, err := w.Apply(ctx, proc.steps[s.step], cloudtest.Input(t, s.with)); err != nil {
				return fmt.Errorf("%s: %w", s.step, err)
			}
		}
		return nil
	}
	env := w.Env()
	for _, s := range slices.Backward(p.stages) {
		if err := proc.steps[s.step].Release(ctx, env, cloudtest.Input(t, s.with)); err != nil {
			return fmt.Errorf("%s: release: %w", s.step, err)
		}
	}
	for _, s := range slices.Backward(p.stages) {
		if err := proc.steps[s.step].Delete(ctx, env, cloudtest.Input(t, s.with), steps.DeleteOptions{WithData: p.withData}); err != nil {
			return fmt.Errorf("%s: delete: %w", s.step, err)
		}
	}
	return nil
}

// account is a fresh world in which the phases before the n-th have been lived through undisturbed.
func (l life) account(t *testing.T, n int) (*cloudtest.World, *cloudtest.Kube) {
	t.Helper()
	w := cloudtest.New(t, emulator.Options{Seed: 31, LagLists: true})
	k := l.cluster(w)
	for _, p := range l.phases[:n] {
		if p.before != nil {
			p.before(t, w)
		}
		if err := p.run(t.Context(), t, w, client(w, k)); err != nil {
			t.Fatalf("%s: %s: %v", l.name, p.name, err)
		}
	}
	if before := l.phases[n].before; before != nil {
		before(t, w)
	}
	return w, k
}

func (l life) cluster(w *cloudtest.World) *cloudtest.Kube {
	k := w.Kube("blog", cloudtest.Node("ip-10-0-1-5"), cloudtest.Pod("ci", "runner-0", "runner"))
	if l.issuer != "" {
		k.SelfManaged("kubeadm", l.issuer)
	}
	return k
}

func client(w *cloudtest.World, k *cloudtest.Kube) process {
	return clientAs(w, k, emulator.FixtureAccessKey)
}

func clientAs(w *cloudtest.World, k *cloudtest.Kube, key string) process {
	open, kill := w.ProcessAs(key)
	p := process{steps: map[string]steps.Definition{}, kill: kill}
	for _, d := range catalog.All(catalog.Deps{AWS: open, Kube: k.Open}) {
		p.steps[d.Name] = d
	}
	return p
}

// call is one distinct call of a phase, and which of its uses goes wrong.
type call struct {
	service, action string
	write           bool
	at, of          int
	again           bool // refused at times, until AWS sees what it names: how often is not the same in every run
}

func (c call) String() string {
	if c.of == 1 {
		return c.service + ":" + c.action
	}
	return fmt.Sprintf("%s:%s %d of %d", c.service, c.action, c.at, c.of)
}

// distinct lists the calls of an undisturbed phase, each with its number of uses. Reads go wrong at the first use, and so do
// writes that are tried again; of other writes, whose uses make different things, pick says which.
func distinct(calls []emulator.Call, pick func(int) int) []call {
	var out []call
	for _, c := range calls {
		i := slices.IndexFunc(out, func(x call) bool { return x.service == c.Service && x.action == c.Action })
		if i < 0 {
			out, i = append(out, call{service: c.Service, action: c.Action, write: c.Write, at: 1}), len(out)
		}
		out[i].of++
		out[i].again = out[i].again || !c.OK()
	}
	for i, c := range out {
		if c.write && !c.again {
			out[i].at = 1 + pick(c.of)
		}
	}
	return out
}

// survives runs a phase with one call gone wrong, each failure followed by a new process, and gives the resources that it comes to.
func (l life) survives(t *testing.T, n int, c call, wrong string) []string {
	w, k := l.account(t, n)
	p, proc := l.phases[n], client(w, k)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	kind := map[string]string{"killed": "lost-response", "killed before": "reset"}[wrong]
	if kind == "" {
		kind = wrong
	} else {
		w.OnCallAt(c.service, c.action, c.at, func() { proc.kill(); cancel() })
	}
	w.AddFault(emulator.Fault{Service: c.service, Action: c.action, Kind: kind, At: c.at})
	err := p.run(ctx, t, w, proc)
	// A look that fails once is made again by whoever needs it; a kill, or a write that is refused, must be told.
	loud := strings.HasPrefix(wrong, "killed") || c.write && (wrong == "access-denied" || wrong == "expired-token")
	if err == nil && loud {
		t.Errorf("%v %s: went unnoticed", c, wrong)
	}
	for try := 0; err != nil; try++ {
		if e := steps.Classify(err); e.Category == steps.Internal {
			t.Errorf("%v %s: ends as a bug of ours: %v", c, wrong, err)
		}
		if try == 3 {
			t.Fatalf("%v %s: does not converge: %v", c, wrong, err)
		}
		err = p.run(t.Context(), t, w, client(w, k))
	}
	w.NoDuplicates(t)
	return inventory(w)
}

// inventory is all that is there and that AWS would not remove by itself, with or without our tags: what is no longer found by them is
// an orphan.
func inventory(w *cloudtest.World) []string {
	var out []string
	for _, r := range w.Leftovers(nil) {
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", r.Kind, r.State, r.Tags[cloud.TagKind], r.Tags[cloud.TagName])))
	}
	for key, o := range w.Objects("issuers") {
		out = append(out, fmt.Sprintf("s3:Object %s %d bytes", key, len(o.Body)))
	}
	slices.Sort(out)
	return out
}

func seed(t *testing.T) uint64 {
	t.Helper()
	if text := os.Getenv("PIPECTL_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("PIPECTL_SEED: %v", err)
		}
		return n
	}
	return rand.Uint64()
}

// TestEveryCallMayGoWrong is the matrix: every distinct call of every phase of every life, with everything that can go wrong with it.
// A plain run draws one of the eight for each call, by a seed that it prints (PIPECTL_SEED repeats it); PIPECTL_MATRIX=full runs all.
func TestEveryCallMayGoWrong(t *testing.T) {
	began := seed(t)
	pick := rand.New(rand.NewPCG(began, 0))
	full := os.Getenv("PIPECTL_MATRIX") == "full"
	var calls, scenarios atomic.Int64
	t.Cleanup(func() { t.Logf("%d scenarios over %d calls, seed %d", scenarios.Load(), calls.Load(), began) })
	disturbed := map[string]bool{}
	for _, l := range lives() {
		for n, p := range l.phases {
			list, want := l.undisturbed(t, n, pick.IntN)
			for _, c := range list {
				calls.Add(1)
				disturbed[c.service+":"+c.action] = true
				kinds := wrongs
				if !full {
					kinds = wrongs[pick.IntN(len(wrongs)):][:1]
				}
				for _, wrong := range kinds {
					t.Run(fmt.Sprintf("%s/%s/%v %s", l.name, p.name, c, wrong), func(t *testing.T) {
						t.Parallel()
						scenarios.Add(1)
						synctest.Test(t, func(t *testing.T) {
							if diff := cmp.Diff(want, l.survives(t, n, c, wrong)); diff != "" {
								t.Errorf("resources differ from those of an undisturbed run (-want +got):\n%s", diff)
							}
						})
					})
				}
			}
		}
	}
	covered(t, disturbed)
}

func (l life) undisturbed(t *testing.T, n int, pick func(int) int) (calls []call, want []string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w, k := l.account(t, n)
		mark := w.Mark()
		if err := l.phases[n].run(t.Context(), t, w, client(w, k)); err != nil {
			t.Fatalf("%s: %s: %v", l.name, l.phases[n].name, err)
		}
		calls, want = distinct(w.Since(mark), pick), inventory(w)
	})
	return calls, want
}
