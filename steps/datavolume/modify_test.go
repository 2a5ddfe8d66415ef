package datavolume_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/datavolume"
)

func sized(size string) string {
	return "{name: jenkins-home, zone: ap-northeast-2a, size: " + size + "}"
}

func refusal(t *testing.T, err error, code string) *steps.Error {
	t.Helper()
	var e *steps.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Fatalf("got %v, want %s", err, code)
	}
	return e
}

func TestVolumeGrowsAndIsWaitedFor(t *testing.T) {
	for _, kind := range []string{"", "lost-response", "throttle", "500", "reset"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := emulator.Options{Seed: 9}
				if kind != "" {
					o.Faults = []emulator.Fault{{Service: "ec2", Action: "ModifyVolume", Kind: kind, Times: 2}, {Service: "ec2", Action: "DescribeVolumesModifications", Kind: "500"}}
				}
				w := cloudtest.New(t, o)
				d := datavolume.New(w.Open)
				raw, err := w.Apply(t.Context(), d, cloudtest.Input(t, home))
				outputs(t, raw, err)
				raw, err = w.Apply(t.Context(), d, cloudtest.Input(t, sized("40Gi")))
				if out := outputs(t, raw, err); out.SizeGiB != 40 {
					t.Errorf("got %d GiB", out.SizeGiB)
				}
				mark := w.Mark()
				raw, err = w.Apply(t.Context(), d, cloudtest.Input(t, sized("40Gi")))
				outputs(t, raw, err)
				if _, writes := w.Count(mark); writes != 0 {
					t.Errorf("the second run: %d writes", writes)
				}
			})
		})
	}
}

func TestVolumeNeverShrinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 10})
		d := datavolume.New(w.Open)
		raw, err := w.Apply(t.Context(), d, cloudtest.Input(t, sized("40Gi")))
		outputs(t, raw, err)
		mark := w.Mark()
		_, planErr := d.Plan(t.Context(), w.Env(), cloudtest.Input(t, home))
		_, applyErr := w.Apply(t.Context(), d, cloudtest.Input(t, home))
		for _, err := range []error{planErr, applyErr} {
			e := refusal(t, err, "CannotShrink")
			if e.Category != steps.BadInput || !strings.HasPrefix(e.Message, "size: ") || !strings.Contains(e.Hints[0], "size: 40Gi") {
				t.Errorf("got %+v", e)
			}
		}
		if _, writes := w.Count(mark); writes != 0 {
			t.Errorf("%d writes", writes)
		}
		if err := w.Down(t.Context(), d, cloudtest.Input(t, home), false); err != nil { // what goes need not be as it should
			t.Error(err)
		}
	})
}

func TestVolumeThatWasChangedTooSoonSaysWhenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 11})
		d := datavolume.New(w.Open)
		raw, err := w.Apply(t.Context(), d, cloudtest.Input(t, home))
		outputs(t, raw, err)
		raw, err = w.Apply(t.Context(), d, cloudtest.Input(t, sized("21Gi")))
		outputs(t, raw, err)
		_, err = w.Apply(t.Context(), d, cloudtest.Input(t, sized("25Gi"))) // the one before is optimizing still
		if e := refusal(t, err, "ModifiedTooSoon"); !strings.Contains(e.Message, "another change of it, to 21 GiB") {
			t.Errorf("got %+v", e)
		}
		for _, size := range []string{"22Gi", "23Gi", "24Gi"} {
			time.Sleep(10 * time.Minute)
			raw, err = w.Apply(t.Context(), d, cloudtest.Input(t, sized(size)))
			outputs(t, raw, err)
		}
		time.Sleep(10 * time.Minute)
		_, err = w.Apply(t.Context(), d, cloudtest.Input(t, sized("25Gi")))
		e := refusal(t, err, "ModifiedTooSoon")
		if !strings.Contains(e.Message, "changed too often, the last time at 2000-") || !strings.Contains(e.Hints[0], "run again after 2000-") || steps.Classify(e).Category.ExitCode() != 10 {
			t.Errorf("got %+v", e)
		}
	})
}
