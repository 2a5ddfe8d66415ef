package jenkinshome

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"pipectl.dev/cloud/cloudtest"
	"pipectl.dev/cloud/cloudtest/calls"
	emu "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
)

var sharedLists = regexp.MustCompile(`\.(Snapshots|Volumes|Instances)\(ctx`)

func TestPermissionsAskedForAreThoseOfTheCallsMade(t *testing.T) {
	t.Parallel()
	var made []string
	for _, c := range calls.In(t, "*.go") {
		made = append(made, c.IAM())
	}
	calls.Each(t, sharedLists, func(_ string, m []string) { made = append(made, "ec2:Describe"+m[1]) }, "*.go")
	asked := slices.Concat(append(slices.Collect(maps.Values(actionsOfRoute)), actionsOfAll, optional)...)
	slices.Sort(made)
	slices.Sort(asked)
	if made, asked = slices.Compact(made), slices.Compact(asked); !slices.Equal(made, asked) {
		t.Errorf("the preflight asks for %v, the steps call %v", asked, made)
	}
}

func TestPermissionsOfARouteAreToldByName(t *testing.T) {
	t.Parallel()
	const user = "arn:aws:iam::111122223333:user/rehearsal"
	attaching := []string{"ec2:CreateTags", "ec2:DeleteTags", "ec2:Describe*", "ec2:AttachVolume", "ec2:DetachVolume"}
	for name, c := range map[string]struct {
		route string
		may   []string
		want  string
	}{
		"attach, all allowed":            {routeAttach, attaching, ""},
		"attach, without detaching":      {routeAttach, attaching[:4], "the caller may not ec2:DetachVolume"},
		"sameNode needs no attaching":    {routeSameNode, attaching[:3], ""},
		"snapshot needs more":            {routeSnapshot, attaching, "the caller may not ec2:CreateSnapshot, ec2:CreateVolume, ec2:DeleteSnapshot, ec2:DeleteVolume"},
		"stream attaches":                {routeStream, attaching[:3], "the caller may not ec2:AttachVolume, ec2:DetachVolume"},
		"no route yet, and may not tag":  {"", attaching[1:], "the caller may not ec2:CreateTags"},
		"no route yet, and may tag":      {"", attaching[:3], ""},
		"rolled back tags are taken off": {routeAttach, slices.Delete(slices.Clone(attaching), 1, 2), "the caller may not ec2:DeleteTags"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := cloudtest.New(t, emu.Options{Seed: 7, Policies: map[string][]string{user: append([]string{"iam:SimulatePrincipalPolicy", "sts:*"}, c.may...)}})
				s, err := w.Open(t.Context(), "")
				if err != nil {
					t.Fatal(err)
				}
				err = (&mission{env: w.Env(), aws: s, move: Move{Route: c.route}}).permitted(t.Context())
				switch {
				case c.want == "" && err != nil:
					t.Errorf("got %v", err)
				case c.want != "" && (err == nil || steps.Classify(err).Category.ExitCode() != 11 || !strings.Contains(err.Error(), c.want)):
					t.Errorf("got %v, want exit 11 and %q", err, c.want)
				}
			})
		})
	}
}

// Each of the two asks before anything is touched; where nothing is left to do it does not ask.
func TestPreflightsOfAMoveAskForPermissions(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		asked := 0
		s.onCall = func(c emu.Call) {
			if c.Action == "SimulatePrincipalPolicy" {
				asked++
			}
		}
		a, k := s.openers()
		preflights := func(want int, m MigrateSpec) {
			t.Helper()
			asked = 0
			if err := (precopyStep{base{a, k, Options{}}}).Preflight(t.Context(), s.env("run-1"), s.precopySpec()); err != nil {
				t.Fatal(err)
			}
			if m.Move.VolumeID != "" {
				if err := (migrateStep{base{a, k, Options{}}}).Preflight(t.Context(), s.env("run-1"), m); err != nil {
					t.Fatal(err)
				}
			}
			if asked != want {
				t.Errorf("IAM was asked %d times, want %d", asked, want)
			}
		}
		preflights(1, MigrateSpec{})
		pre, err := s.precopy(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		migrate := s.migrateSpec(pre.Move)
		preflights(1, migrate) // nothing is left to copy ahead
		if _, err := s.migrate(t.Context(), pre.Move, "run-1"); err != nil {
			t.Fatal(err)
		}
		preflights(0, migrate)
	})
}
