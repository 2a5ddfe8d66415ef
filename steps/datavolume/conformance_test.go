package datavolume_test

import (
	"testing"

	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps/datavolume"
	"pipectl.dev/steps/steptest"
)

func TestConformance(t *testing.T) {
	steptest.Run(t, datavolume.New(nil), steptest.Harness{Virtual: true, World: func(t *testing.T) steptest.World {
		w := cloudtest.New(t, emulator.Options{Seed: 7})
		foreign := func(t *testing.T) func() string {
			id, err := w.SeedVolume("ap-northeast-2a", 20, map[string]string{"Name": "jenkins-home", "pipectl.dev/name": "jenkins-home", "pipectl.dev/identity": "999999999999/ap-northeast-2/other"})
			if err != nil {
				t.Fatal(err)
			}
			return func() string {
				for _, r := range w.Resources() {
					if r.ID == id {
						return ""
					}
				}
				return "the volume of another pipeline is gone"
			}
		}
		return w.Steptest(datavolume.New(w.Open), home, foreign)
	}})
}
