package view

import (
	"strings"
	"testing"

	"pipectl.dev/engine"
	"pipectl.dev/steps"
)

func TestWhatARunThatFailedLeavesIsToldWithItsPriceAndTheWaysOn(t *testing.T) {
	left := []steps.Change{{Kind: "ec2:NatGateway", Name: "blog/nat-1"}, {Kind: "eks:Nodegroup", Name: "blog/a"}, {Kind: "eks:Nodegroup", Name: "blog/b", Unfinished: true, Action: "delete"}}
	for name, c := range map[string]struct {
		result engine.RunResult
		want   string
	}{
		"of a run": {engine.RunResult{Verb: "run", Cost: &steps.Cost{HourlyUSD: 0.25}, Next: &engine.Next{Exists: left, AtMost: true, Resume: "pipectl run --resume", BackOut: "pipectl down"}},
			"exists now: 1 ec2:NatGateway, 2 eks:Nodegroup (1 being removed) (at most 0.250 USD/h) carry on: pipectl run --resume remove it: pipectl down"},
		"of a down": {engine.RunResult{Verb: "down", Cost: &steps.Cost{HourlyUSD: 0.25}, Next: &engine.Next{Exists: left, Resume: "pipectl down"}},
			"exists now: 1 ec2:NatGateway, 2 eks:Nodegroup (1 being removed) (0.250 USD/h, 6.00 USD a day) carry on: pipectl down"},
		"of a down that removed nothing": {engine.RunResult{Verb: "down", Untouched: true}, "nothing was removed"},
		"of a run without an end":        {engine.RunResult{Verb: "run"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var said strings.Builder
			Next(&said, &c.result, Style{Width: 200})
			if got := strings.Join(strings.Fields(said.String()), " "); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}
