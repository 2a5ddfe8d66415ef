package installaddon_test

import (
	"testing"

	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps/installaddon"
	"pipectl.dev/steps/steptest"
)

func TestConformance(t *testing.T) {
	steptest.Run(t, installaddon.New(nil, nil), steptest.Harness{Virtual: true, World: func(t *testing.T) steptest.World {
		w, d, text := world(t, emulator.Options{Seed: 27})
		return w.Steptest(d, text, nil)
	}})
}
