package provisioneks_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/provisioneks"
)

func TestImageOfOnesOwnIsLookedAtBeforeTheFirstWrite(t *testing.T) {
	const id = "ami-0aaaabbbbccccdddd"
	for name, c := range map[string]struct {
		image emulator.Image
		types string
		want  string // code and text of the one problem; "" none
	}{
		"it is as it should be":               {emulator.Image{Arch: "arm64"}, "t4g.small", ""},
		"there is none of that id":            {emulator.Image{State: "none"}, "t3.small", "NoSuchImage nodeGroups[1].launchTemplate.imageId: there is no image " + id},
		"it is still being made":              {emulator.Image{State: "pending", Arch: "x86_64"}, "t3.small", "ImageNotAvailable nodeGroups[1].launchTemplate.imageId: image " + id + " is pending"},
		"it is of another architecture":       {emulator.Image{Arch: "x86_64"}, "t4g.small", "ArchitectureMismatch nodeGroups[1].launchTemplate.imageId: image " + id + " is x86_64, but t4g.small is arm64"},
		"its architecture is not told":        {emulator.Image{}, "t4g.small", ""},
		"it failed, and is of the wrong kind": {emulator.Image{State: "failed", Arch: "arm64"}, "t4g.small", "ImageNotAvailable"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := cloudtest.New(t, emulator.Options{Seed: 141})
				c.image.ID = id
				w.SeedImage(c.image)
				in := cloudtest.Input(t, "{name: blog, nodeGroups: [{name: plain, instanceTypes: [t3.medium]}, {name: own, instanceTypes: ["+c.types+"], launchTemplate: {imageId: "+id+"}}]}")
				err := provisioneks.New(w.Open, nil).Preflight(t.Context(), w.Env(), in)
				got := ""
				if e, ok := errors.AsType[*steps.Error](err); ok {
					got = e.Code + " " + e.Message
				}
				if c.want == "" && err != nil || !strings.HasPrefix(got, c.want) || err != nil && len(flatten(err)) != 1 {
					t.Errorf("got %v, want %q", err, c.want)
				}
				if _, writes := w.Count(0); writes != 0 {
					t.Errorf("%d writes", writes)
				}
			})
		})
	}
}
