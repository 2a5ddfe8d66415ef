package provisioneks_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"

	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/provisioneks"
)

func TestReleaseOfTheImageFollowsOnlyTheFile(t *testing.T) {
	for name, c := range map[string]struct{ from, to, drift, want string }{
		"nothing is said":            {"", "", "", "1.34.4-20261115"},
		"the latest":                 {"", ", releaseVersion: latest", "releaseVersion: have 1.34.4-20261115, want 1.34.4-20261122", "1.34.4-20261122"},
		"one release":                {", releaseVersion: 1.34.3-20261001", ", releaseVersion: 1.34.4-20261115", "releaseVersion: have 1.34.3-20261001, want 1.34.4-20261115", "1.34.4-20261115"},
		"the latest of Bottlerocket": {", amiType: BOTTLEROCKET_x86_64", ", amiType: BOTTLEROCKET_x86_64, releaseVersion: latest", "releaseVersion: have 1.20261115.0-0a1b2c3d, want 1.20261122.0-0a1b2c3d", "1.20261122.0-0a1b2c3d"},
		"it is no longer said":       {", releaseVersion: 1.34.3-20261001", "", "", "1.34.3-20261001"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := cloudtest.New(t, emulator.Options{Seed: 88})
				d := provisioneks.New(w.Open, nil)
				if _, err := w.Apply(t.Context(), d, oneGroup(t, c.from)); err != nil {
					t.Fatal(err)
				}
				w.PublishImages("20261122")
				p, err := d.Plan(t.Context(), w.Env(), oneGroup(t, c.to))
				if text := fmt.Sprint(p.Changes); err != nil || strings.Contains(text, "releaseVersion") != (c.drift != "") || !strings.Contains(text, c.drift) {
					t.Errorf("plan %s, %v, want %q", text, err, c.drift)
				}
				if _, err := w.Apply(t.Context(), d, oneGroup(t, c.to)); err != nil {
					t.Fatal(err)
				}
				if got := aws.ToString(group(t, w, "n").ReleaseVersion); got != c.want {
					t.Errorf("the nodes are of %s, want %s", got, c.want)
				}
				if p, err := d.Plan(t.Context(), w.Env(), oneGroup(t, c.to)); err != nil || p.Outputs == nil {
					t.Errorf("afterwards: %v, %v, want nothing to do", p.Changes, err)
				}
			})
		})
	}
}

func TestReleaseThatEKSDoesNotTakeIsRefusedWithTheFieldNamed(t *testing.T) {
	for name, release := range map[string]string{"an older one": "1.34.3-20261001", "one of another minor version": "1.35.2-20261115"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := cloudtest.New(t, emulator.Options{Seed: 89})
				d := provisioneks.New(w.Open, nil)
				if _, err := w.Apply(t.Context(), d, oneGroup(t, "")); err != nil {
					t.Fatal(err)
				}
				mark := w.Mark()
				_, err := w.Apply(t.Context(), d, oneGroup(t, ", releaseVersion: "+release))
				if e := steps.Classify(err); err == nil || e.Code != "Immutable" || !strings.Contains(err.Error(), "releaseVersion: have 1.34.4-20261115, want "+release) {
					t.Errorf("got %v", err)
				}
				if _, writes := w.Count(mark); writes != 0 {
					t.Errorf("%d writes", writes)
				}
			})
		})
	}
}

// An upgrade and a release are one replacement of the nodes, not two.
func TestReleaseOfTheNextVersionComesWithTheUpgrade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 90})
		d := provisioneks.New(w.Open, nil)
		file := func(version, release string) steps.Input {
			return cloudtest.Input(t, "{name: blog, version: '"+version+"', network: {nat: none}, nodeGroups: [{name: n, instanceTypes: [t3.small]"+release+"}]}")
		}
		if _, err := w.Apply(t.Context(), d, file("1.34", "")); err != nil {
			t.Fatal(err)
		}
		mark := w.Mark()
		if _, err := w.Apply(t.Context(), d, file("1.35", ", releaseVersion: 1.35.2-20261101")); err != nil {
			t.Fatal(err)
		}
		updates := 0
		for _, c := range w.Since(mark) {
			if c.Action == "UpdateNodegroupVersion" {
				updates++
			}
		}
		if got := aws.ToString(group(t, w, "n").ReleaseVersion); got != "1.35.2-20261101" || updates != 1 {
			t.Errorf("the nodes are of %s after %d updates", got, updates)
		}
	})
}
