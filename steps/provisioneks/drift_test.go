package provisioneks_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/provisioneks"
)

func TestDriftIsNamedFieldByFieldThenMended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 43})
		d, in := provisioneks.New(w.Open, nil), cloudtest.Input(t, post)
		raw, err := w.Apply(t.Context(), d, in)
		if err != nil {
			t.Fatal(err)
		}
		changed := strings.NewReplacer("endpoint: {public: true}", "endpoint: {public: true, publicCIDRs: [198.51.100.0/24]}\nlogging: [audit]",
			"desired: 2, max: 3", "desired: 2, max: 5, labels: {team: web}, diskSize: 30").Replace(post)
		p, err := d.Plan(t.Context(), w.Env(), cloudtest.Input(t, changed))
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprint(p.Changes)
		for _, field := range []string{"endpoint.publicCIDRs: have [0.0.0.0/0], want [198.51.100.0/24]", "logging: have none, want [audit]", "max: have 3, want 5", "labels: have none, want [team=web]", "diskSize: have 20, want 30"} {
			if !strings.Contains(text, field) {
				t.Errorf("plan does not say %q: %s", field, text)
			}
		}
		if _, err := w.Apply(t.Context(), d, cloudtest.Input(t, changed)); err != nil {
			t.Fatal(err)
		}
		mark := w.Mark()
		if _, err := w.Apply(t.Context(), d, cloudtest.Input(t, changed)); err != nil {
			t.Fatal(err)
		}
		if _, writes := w.Count(mark); writes != 0 {
			t.Errorf("%d writes although all was mended", writes)
		}
		if again, err := w.Apply(t.Context(), d, in); err != nil || len(again) != len(raw) {
			t.Errorf("and back: %v", err)
		}
	})
}

func TestWhatAWSCannotChangeIsRefusedWithTheFieldNamed(t *testing.T) {
	for name, c := range map[string]struct{ from, to, want string }{
		"instance types":        {"[t3.small], min: 1, desired: 1", "[t3.medium], min: 1, desired: 1", "instanceTypes: have [t3.small], want [t3.medium]"},
		"range of a subnet":     {"10.0.3.0/24", "10.0.7.0/24", "cidr: have 10.0.3.0/24, want 10.0.7.0/24"},
		"an older version":      {"name: blog\n", "name: blog\nversion: '1.33'\n", "version: have 1.34, want 1.33"},
		"how instances are got": {"min: 1, desired: 1, max: 2", "min: 1, desired: 1, max: 2, capacityType: SPOT", "capacityType: have ON_DEMAND, want SPOT"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := cloudtest.New(t, emulator.Options{Seed: 44})
				d := provisioneks.New(w.Open, nil)
				if _, err := w.Apply(t.Context(), d, cloudtest.Input(t, post)); err != nil {
					t.Fatal(err)
				}
				changed := cloudtest.Input(t, strings.Replace(post, c.from, c.to, 1))
				p, err := d.Plan(t.Context(), w.Env(), changed)
				if err != nil || !strings.Contains(fmt.Sprint(p.Changes), "refuse") {
					t.Errorf("plan: %v, %v, want a refusal", p.Changes, err)
				}
				_, err = d.Apply(t.Context(), w.Env(), changed)
				if e := steps.Classify(err); err == nil || e.Code != "Immutable" || !strings.Contains(err.Error(), c.want) {
					t.Errorf("apply: got %v, want a refusal that says %q", err, c.want)
				}
			})
		})
	}
}

func TestDesiredSizeIsAnAutoscalersBusiness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 45})
		d := provisioneks.New(w.Open, nil)
		if _, err := w.Apply(t.Context(), d, cloudtest.Input(t, post)); err != nil {
			t.Fatal(err)
		}
		p, err := d.Plan(t.Context(), w.Env(), cloudtest.Input(t, strings.Replace(post, "desired: 2", "desired: 3", 1)))
		if err != nil || p.Outputs == nil {
			t.Errorf("got %v, %v, want nothing to do", p.Changes, err)
		}
	})
}

func TestExistingClusterIsReadAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 47})
		if _, err := w.Apply(t.Context(), provisioneks.New(w.Open, nil), cloudtest.Input(t, post)); err != nil {
			t.Fatal(err)
		}
		d, in := provisioneks.New(w.Open, nil), cloudtest.Input(t, "{name: blog, existing: true}")
		mark := w.Mark()
		raw, err := w.Apply(t.Context(), d, in)
		if err == nil {
			err = w.Down(t.Context(), d, in, true)
		}
		if _, writes := w.Count(mark); err != nil || writes != 0 || !strings.Contains(string(raw), "oidc-provider") {
			t.Errorf("got %s, %v, %d writes", raw, err, writes)
		}
		_, err = w.Apply(t.Context(), d, cloudtest.Input(t, "{name: other, existing: true}"))
		if e := steps.Classify(err); err == nil || e.Code != "ClusterNotFound" || e.Category.ExitCode() != 10 {
			t.Errorf("a cluster that is not there: %v", err)
		}
	})
}

func TestClusterOfSomebodyElseIsRefusedAndLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 48})
		d, in := provisioneks.New(w.Open, nil), cloudtest.Input(t, post)
		if _, err := w.Apply(t.Context(), d, in); err != nil {
			t.Fatal(err)
		}
		before := len(w.Resources())
		other := w.Env()
		other.Identity.Pipeline = "theirs"
		err := d.Preflight(t.Context(), other, in)
		if e := steps.Classify(err); err == nil || e.Category.ExitCode() != 12 {
			t.Errorf("got %v, want exit 12", err)
		}
		if err := errors.Join(d.Release(t.Context(), other, in), d.Delete(t.Context(), other, in, steps.DeleteOptions{WithData: true})); err != nil {
			t.Errorf("down of what is not ours: %v", err)
		}
		if after := len(w.Resources()); after != before {
			t.Errorf("%d of %d resources are left", after, before)
		}
	})
}
