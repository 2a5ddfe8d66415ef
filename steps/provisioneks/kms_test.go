package provisioneks_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/provisioneks"
)

func encrypted(t *testing.T, key string) steps.Input {
	t.Helper()
	if key != "" {
		key = ", kmsKeyArn: '" + key + "'"
	}
	return cloudtest.Input(t, "{name: blog, network: {nat: none}"+key+"}")
}

func TestKeyIsAddedToAClusterAndStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 101})
		one, other := w.SeedKey("one", "Enabled"), w.SeedKey("other", "Enabled")
		d := provisioneks.New(w.Open, nil)
		if _, err := w.Apply(t.Context(), d, encrypted(t, "")); err != nil {
			t.Fatal(err)
		}
		p, err := d.Plan(t.Context(), w.Env(), encrypted(t, one))
		if err != nil || !strings.Contains(fmt.Sprint(p.Changes), "kmsKeyArn: have none, want "+one) {
			t.Errorf("plan %v, %v", p.Changes, err)
		}
		for range 2 {
			if _, err := w.Apply(t.Context(), d, encrypted(t, one)); err != nil {
				t.Fatal(err)
			}
		}
		mark := w.Mark()
		for name, key := range map[string]string{"taken back": "", "changed": other} {
			_, err = w.Apply(t.Context(), d, encrypted(t, key))
			if e := steps.Classify(err); err == nil || e.Code != "Immutable" || !strings.Contains(err.Error(), "kmsKeyArn: have "+one) {
				t.Errorf("%s: got %v, want it refused", name, err)
			}
		}
		if _, writes := w.Count(mark); writes != 0 {
			t.Errorf("%d writes", writes)
		}
	})
}

func TestClusterIsMadeWithItsKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 102})
		in := encrypted(t, w.SeedKey("one", "Enabled"))
		d := provisioneks.New(w.Open, nil)
		if _, err := w.Apply(t.Context(), d, in); err != nil {
			t.Fatal(err)
		}
		if p, err := d.Plan(t.Context(), w.Env(), in); err != nil || p.Outputs == nil {
			t.Errorf("afterwards: %v, %v, want nothing to do", p.Changes, err)
		}
	})
}

func TestKeyIsCheckedBeforeTheFirstWrite(t *testing.T) {
	for name, c := range map[string]struct{ arn, code string }{
		"in another region": {"arn:aws:kms:us-east-1:111122223333:key/one", "KeyElsewhere"},
		"that is not there": {"arn:aws:kms:ap-northeast-2:111122223333:key/none", "NoSuchKey"},
		"that is disabled":  {"arn:aws:kms:ap-northeast-2:111122223333:key/off", "UnusableKey"},
		"that is to go":     {"arn:aws:kms:ap-northeast-2:111122223333:key/gone", "UnusableKey"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, there := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					w := cloudtest.New(t, emulator.Options{Seed: 103})
					w.SeedKey("off", "Disabled")
					w.SeedKey("gone", "PendingDeletion")
					d := provisioneks.New(w.Open, nil)
					if there {
						if _, err := w.Apply(t.Context(), d, encrypted(t, "")); err != nil {
							t.Fatal(err)
						}
					}
					mark := w.Mark()
					err := d.Preflight(t.Context(), w.Env(), encrypted(t, c.arn))
					if err == nil || steps.Classify(flatten(err)[0]).Code != c.code {
						t.Errorf("cluster is there %v: got %v, want %s", there, err, c.code)
					}
					if _, writes := w.Count(mark); writes != 0 {
						t.Errorf("%d writes", writes)
					}
				})
			}
		})
	}
}
