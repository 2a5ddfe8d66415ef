package steps_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"pipectl.dev/steps"
	"pipectl.dev/steps/reconcile"
	"pipectl.dev/steps/spec"
	"pipectl.dev/steps/wait"
)

type in struct {
	Name  string       `yaml:"name" jsonschema:"required"`
	Token steps.Secret `yaml:"token"`
}

type out struct {
	Name string   `json:"name"`
	List []string `json:"list,omitempty"`
}

type lossy struct {
	Name string `json:"-"`
	Odd  any    `json:"odd"`
}

// seer foresees.
type seer struct {
	plain[out]
	some map[string]any
}

func (s seer) Plan(context.Context, steps.Env, in) (steps.Plan[out], error) {
	return steps.Plan[out]{Changes: []steps.Change{{Kind: "thing", Name: "a", Action: reconcile.Create}}, Foreseen: s.some}, nil
}

func TestForeseenOutputsAreDeclaredOnes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		some      map[string]any
		want, err string
	}{
		"nothing":                           {},
		"some of the outputs":               {some: map[string]any{"list": []string{"x"}}, want: `{"list":["x"]}`},
		"one that is not declared":          {some: map[string]any{"zone": "a"}, err: `foreseen: "zone" is not an output`},
		"one in another case":               {some: map[string]any{"Name": "a"}, err: `foreseen: "Name" is not an output`},
		"one of another type":               {some: map[string]any{"name": 3}, err: "foreseen: json: cannot unmarshal"},
		"one that cannot be written at all": {some: map[string]any{"name": func() {}}, err: "foreseen: json: unsupported type"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := steps.Define(steps.About{Name: "foresee"}, seer{some: c.some})
			var n yaml.Node
			if err := yaml.Unmarshal([]byte("name: a"), &n); err != nil {
				t.Fatal(err)
			}
			p, err := d.Plan(t.Context(), steps.Env{}, steps.Input{With: n.Content[0]})
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if string(p.Foreseen) != c.want {
				t.Errorf("foreseen %s, want %s", p.Foreseen, c.want)
			}
		})
	}
}

// plain has no optional method; whole has all.
type plain[O any] struct{ o O }

func (p plain[O]) Plan(_ context.Context, env steps.Env, _ in) (steps.Plan[O], error) {
	if env.Unknown("name") {
		return steps.Plan[O]{}, nil
	}
	return steps.Plan[O]{Outputs: &p.o}, nil
}
func (p plain[O]) Apply(context.Context, steps.Env, in) (O, error)         { return p.o, nil }
func (p plain[O]) Observe(context.Context, steps.Env, in) (O, bool, error) { return p.o, true, nil }

type whole struct {
	plain[out]
	said *[]string
}

func (w whole) Preflight(_ context.Context, _ steps.Env, s in) error { return w.say("preflight", s) }
func (w whole) Release(_ context.Context, _ steps.Env, s in) error   { return w.say("release", s) }
func (w whole) Delete(_ context.Context, _ steps.Env, s in, o steps.DeleteOptions) error {
	return w.say(fmt.Sprintf("delete %v", o.WithData), s)
}
func (w whole) say(what string, s in) error { *w.said = append(*w.said, what+" "+s.Name); return nil }

func with(t *testing.T, src string, partial ...string) steps.Input {
	t.Helper()
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(src), &n); err != nil {
		t.Fatal(err)
	}
	return steps.Input{File: "f.yaml", With: &n, Partial: partial}
}

func TestDefineErasesTypesAndKnowsOptionalMethods(t *testing.T) {
	t.Parallel()
	bare := steps.Define(steps.About{Name: "a"}, plain[out]{})
	if bare.Preflights || bare.Releases || bare.Deletes {
		t.Error("a step without optional methods has some")
	}
	good := with(t, "name: n")
	for name, err := range map[string]error{
		"preflight": bare.Preflight(t.Context(), steps.Env{}, good), "release": bare.Release(t.Context(), steps.Env{}, good), "delete": bare.Delete(t.Context(), steps.Env{}, good, steps.DeleteOptions{}),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	var said []string
	d := steps.Define(steps.About{Name: "b"}, whole{plain[out]{out{Name: "x", List: []string{}}}, &said})
	err := errors.Join(d.Preflight(t.Context(), steps.Env{}, good), d.Release(t.Context(), steps.Env{}, good), d.Delete(t.Context(), steps.Env{}, good, steps.DeleteOptions{WithData: true}))
	if diff := cmp.Diff([]string{"preflight n", "release n", "delete true n"}, said); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	p, err := d.Plan(t.Context(), steps.Env{}, good)
	if err != nil || string(p.Outputs) != `{"name":"x"}` {
		t.Errorf("%s %v", p.Outputs, err)
	}
	if p, err := d.Plan(t.Context(), steps.Env{}, with(t, "name: later", "name")); err != nil || p.Outputs != nil {
		t.Errorf("the step is not told what is unknown: %s %v", p.Outputs, err)
	}
	_, err = d.Apply(t.Context(), steps.Env{}, with(t, "nmae: n"))
	if steps.Classify(err).Category != steps.BadInput || !strings.Contains(err.Error(), "f.yaml:1:1") {
		t.Error(err)
	}
	if d.Spec != reflect.TypeFor[in]() || d.Outputs != reflect.TypeFor[out]() {
		t.Error(d.Spec, d.Outputs)
	}
}

func TestOutputsThatJSONChangesAreOurBug(t *testing.T) {
	t.Parallel()
	d := steps.Define(steps.About{Name: "a"}, plain[steps.Secret]{steps.NewSecret("x")})
	if _, _, err := d.Observe(t.Context(), steps.Env{}, with(t, "name: n")); err == nil {
		t.Error("a secret as output is no error")
	}
	odd := steps.Define(steps.About{Name: "a"}, plain[lossy]{lossy{Odd: func() {}}})
	if _, err := odd.Apply(t.Context(), steps.Env{}, with(t, "name: n")); err == nil {
		t.Error("a function as output is no error")
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	t.Parallel()
	var s in
	if err := with(t, "name: n\ntoken: hunter2").With.Decode(&s); err != nil || s.Token.Reveal() != "hunter2" || !s.Token.IsSet() {
		t.Fatal(s, err)
	}
	raw, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "token", s.Token, "all", s)
	for _, text := range []string{fmt.Sprint(s), fmt.Sprintf("%#v %+v %s %q", s, s, s.Token, s.Token), string(raw), log.String()} {
		if strings.Contains(text, "hunter2") {
			t.Error(text)
		}
	}
}

func TestClassify(t *testing.T) {
	t.Parallel()
	known := &steps.Error{Code: "QuotaExceeded", Category: steps.Quota, Message: "vpc: 5 of 5", Hints: []string{"raise it"}}
	for name, c := range map[string]struct {
		err     error
		code    string
		exit    int
		message string
	}{
		"ours, with the path to it":    {fmt.Errorf("network: %w", known), "QuotaExceeded", 10, "network: vpc: 5 of 5"},
		"the first of several":         {errors.Join(known, errors.New("x")), "QuotaExceeded", 10, "vpc: 5 of 5\nx"},
		"a bad spec":                   {spec.Problems{{File: "f", Line: 1, Col: 2, Message: "no", Hint: "yes"}}, "InvalidSpec", 2, "f:1:2: no"},
		"something foreign":            {fmt.Errorf("a/b: %w", &reconcile.RefusedError{Foreign: true}), "NotOurs", 12, "a/b: exists and does not carry our owner tag; it is left alone"},
		"something immutable":          {&reconcile.RefusedError{Drift: []string{"cidr"}}, "Immutable", 10, "cannot be changed in place: [cidr]"},
		"a wait that took too long":    {&wait.TimeoutError{After: time.Minute, Detail: "CREATING"}, "TimedOut", 15, "not done after 1m0s (last seen: CREATING)"},
		"a deadline":                   {context.DeadlineExceeded, "TimedOut", 15, "context deadline exceeded"},
		"a cancelled context":          {fmt.Errorf("x: %w", context.Canceled), "Canceled", 130, "x: context canceled"},
		"an error nobody classified":   {errors.New("raw"), "Internal", 1, "raw"},
		"a category nobody knows":      {&steps.Error{Code: "X", Category: "new", Message: "m"}, "X", 1, "m"},
		"a message and what caused it": {&steps.Error{Code: "X", Category: steps.Partial, Message: "m", Err: errors.New("c")}, "X", 16, "m: c"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := steps.Classify(c.err)
			if got.Code != c.code || got.Category.ExitCode() != c.exit || got.Message != c.message {
				t.Errorf("%+v, exit %d", got, got.Category.ExitCode())
			}
		})
	}
}

func TestIdentityNamesPipelineAndPlace(t *testing.T) {
	t.Parallel()
	for want, id := range map[string]steps.Identity{
		"123456789012/eu/blog":         {Account: "123456789012", Region: "eu", Pipeline: "blog"},
		"123456789012/eu/blog/staging": {Account: "123456789012", Region: "eu", Pipeline: "blog", Env: "staging", Cluster: "ignored"},
		"uid-of-kube-system/blog":      {Cluster: "uid-of-kube-system", Pipeline: "blog"},
	} {
		if got := id.String(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if got := (steps.Identity{Pipeline: "blog", Env: "staging"}).Prefix(); got != "blog-staging" {
		t.Error(got)
	}
}

func TestUnknownReachesAboveAndBelow(t *testing.T) {
	t.Parallel()
	env := steps.Env{Partial: []string{"cluster", "groups[0].zones[1]"}}
	for path, want := range map[string]bool{
		"cluster": true, "cluster.eks": true, "clusters": false, "groups": true, "groups[0].zones": true, "groups[0].zones[1]": true, "groups[0].zones[0]": false, "groups[1]": false, "name": false,
	} {
		if got := env.Unknown(path); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}

func TestClusterRef(t *testing.T) {
	t.Parallel()
	eks := steps.ClusterRef{EKS: &steps.EKSCluster{Name: "blog", Region: "eu"}}
	for want, r := range map[string]steps.ClusterRef{
		"eks:eu/blog": eks, "context:c": {Context: "c"}, "kubeconfig:k": {Kubeconfig: "k"}, "in-cluster": {InCluster: true}, "(no cluster)": {},
	} {
		if got := r.String(); got != want || r.IsZero() != (want == "(no cluster)") || (len(r.Check("cluster")) == 0) == r.IsZero() {
			t.Errorf("%s, want %s: %v", got, want, r.Check("cluster"))
		}
	}
	both := steps.ClusterRef{Context: "c", InCluster: true}
	if ps := both.Check("cluster"); len(ps) != 1 || ps[0].Path != "cluster" {
		t.Error(ps)
	}
	raw, err := json.Marshal(eks)
	if err != nil {
		t.Fatal(err)
	}
	var back steps.ClusterRef
	if err := yaml.Unmarshal(raw, &back); err != nil || cmp.Diff(eks, back) != "" {
		t.Errorf("%s as YAML: %+v, %v", raw, back, err)
	}
}

func TestProgressBecomesEvents(t *testing.T) {
	t.Parallel()
	var got []steps.Event
	env := steps.Env{Record: func(ev steps.Event) { got = append(got, ev) }}
	c := steps.Change{Kind: "k", Name: "n", Action: "create"}
	env.Report(steps.Progress{Change: c, Phase: reconcile.Wait, Detail: "CREATING", Elapsed: time.Minute, Expect: 2 * time.Minute})
	env.Report(steps.Progress{Change: c, Phase: reconcile.Failed, Err: errors.New("no")})
	env.Note("newer exists")
	env.Waiting("for 2 builds", time.Second, 0)
	want := []steps.Event{
		{Type: steps.ChangeProgress, Change: &c, Message: "CREATING", ElapsedSeconds: 60, ExpectSeconds: 120},
		{Type: steps.ChangeFailed, Change: &c, Message: "no"},
		{Type: steps.Diagnostic, Message: "newer exists"},
		{Type: steps.Waiting, Message: "for 2 builds", ElapsedSeconds: 1},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestWhoIsGoneKeepsNobodyOut(t *testing.T) {
	t.Parallel()
	me := steps.Self()
	me.RunID = "mine"
	if me.PID != os.Getpid() || me.Host == "" || me.Machine == "" {
		t.Fatalf("%+v", me)
	}
	here, machine := me.Host, me.Machine
	const dead = 1 << 30
	for name, c := range map[string]struct {
		by   steps.Holder
		gone bool
	}{
		"another run elsewhere":                            {steps.Holder{RunID: "r", Host: "there", PID: dead}, false},
		"another run elsewhere, of another time":           {steps.Holder{RunID: "r", Host: "there", Expires: time.Unix(1, 0)}, false},
		"another run here that lives":                      {steps.Holder{RunID: "r", Host: here, Machine: machine, PID: os.Getppid()}, false},
		"another run here that is dead":                    {steps.Holder{RunID: "r", Host: here, Machine: machine, PID: dead}, true},
		"one in another pod on the same node's network":    {steps.Holder{RunID: "r", Host: here, Machine: "m pid:[2]", PID: dead}, false},
		"one before the machine was started again":         {steps.Holder{RunID: "r", Host: here, Machine: "another boot", PID: dead}, false},
		"we ourselves":                                     {steps.Holder{RunID: "mine", Host: here, Machine: machine, PID: os.Getpid()}, true},
		"the run that we resume, elsewhere":                {steps.Holder{RunID: "mine", Host: "there", PID: 1}, true},
		"the run that we resume, here, which is not ended": {steps.Holder{RunID: "mine", Host: here, Machine: machine, PID: os.Getppid()}, false},
	} {
		if got := c.by.Gone(me); got != c.gone {
			t.Errorf("%s: gone %v", name, got)
		}
	}
	if (steps.Holder{RunID: "r", PID: dead}).Gone(steps.Holder{RunID: "mine"}) {
		t.Error("of two machines that cannot tell their names each took the other for itself")
	}
}
