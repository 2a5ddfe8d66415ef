package bindirsa_test

import (
	"testing"

	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps/bindirsa"
	"pipectl.dev/steps/steptest"
)

func TestConformance(t *testing.T) {
	steptest.Run(t, bindirsa.New(nil, nil), steptest.Harness{Virtual: true, World: func(t *testing.T) steptest.World {
		w, k := world(t, emulator.Options{Seed: 19})
		foreign := func(*testing.T) func() string {
			arn := w.SeedRole("ebs-csi", `{"Version":"2012-10-17","Statement":[]}`)
			return func() string {
				for _, r := range w.Resources() {
					if r.ID == arn {
						return ""
					}
				}
				return "the role of somebody else is gone"
			}
		}
		return w.Steptest(bindirsa.New(w.Open, k.Open), csi, foreign)
	}})
}
