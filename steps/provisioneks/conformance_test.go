package provisioneks_test

import (
	"testing"

	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps/provisioneks"
	"pipectl.dev/steps/steptest"
)

func TestConformance(t *testing.T) {
	steptest.Run(t, provisioneks.New(nil, nil), steptest.Harness{Virtual: true, World: func(t *testing.T) steptest.World {
		w := cloudtest.New(t, emulator.Options{Seed: 8})
		foreign := func(t *testing.T) func() string {
			arn := w.SeedRole("blog-cluster", `{"Version":"2012-10-17","Statement":[]}`)
			return func() string {
				for _, r := range w.Resources() {
					if r.ID == arn {
						return ""
					}
				}
				return "the role of somebody else is gone"
			}
		}
		return w.Steptest(provisioneks.New(w.Open, nil), post, foreign)
	}})
}
