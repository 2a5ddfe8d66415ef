package jenkinshome

import (
	"testing"

	"pipectl.dev/steps"
	"pipectl.dev/steps/steptest"
)

func TestStepsKeepTheContract(t *testing.T) {
	for _, d := range []steps.Definition{NewPrecopy(nil, nil, Options{}), NewMigrate(nil, nil, Options{}), NewVerify(nil, nil, Options{})} {
		t.Run(d.Name, func(t *testing.T) { steptest.Static(t, d) })
	}
}
