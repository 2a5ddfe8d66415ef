package view

import (
	"bytes"
	"testing"
	"time"

	"pipectl.dev/engine"
	"pipectl.dev/steps"
)

func TestGoldenStatus(t *testing.T) {
	price := func(v float64) *float64 { return &v }
	var b bytes.Buffer
	Status(&b, &engine.StatusReport{Pipeline: "blog", Identity: "123456789012/ap-northeast-2/blog", Stages: []engine.StageStatus{
		{Stage: "home", Step: "data-volume", Exists: true, Drift: []steps.Change{{Kind: "ec2:Volume", Name: "jenkins-home", Action: "update", Drift: []string{"size: have 20, want 30"}}}},
		{Stage: "cluster", Step: "provision-eks", Last: &steps.Result{Status: steps.Destroyed, FinishedAt: time.Date(2026, 11, 20, 18, 0, 0, 0, time.Local)}},
		{Stage: "role", Step: "bind-irsa", Partial: true},
		{Stage: "apps", Step: "sync-argocd", Unknown: true},
	}, Forgotten: []engine.Forgotten{
		{Step: "provision-eks", Things: []engine.Thing{{Kind: "ec2:Instance", Name: "old/main", DailyUSD: price(0.62)}, {Kind: "ec2:Instance", Name: "old/main", DailyUSD: price(0.62)}, {Kind: "ec2:Vpc", Name: "old", DailyUSD: price(0)}}},
		{Step: "data-volume", Kept: "it holds data", Things: []engine.Thing{{Kind: "ec2:Volume", Name: "old-home", Data: true}}},
	}, Warnings: []string{"stage apps: how it differs from the file could not be told: the cluster does not answer"}, Holdings: []engine.Holding{
		{Kind: "ec2:NatGateway", Name: "blog/nat-1", ID: "nat-0123456789abcdef0", HourlyUSD: price(0.059), Left: engine.LeftOver},
		{Kind: "ec2:Instance", Name: "blog/main", ID: "i-0123456789abcdef0", Left: engine.LeftByStage},
		{Kind: "ec2:Volume", Name: "jenkins-home", ID: "vol-0123456789abcdef0", HourlyUSD: price(0.0025), Data: true},
	}, Cost: steps.Cost{PricesAsOf: "2026-11-01", Items: []steps.CostItem{
		{What: "ec2:NatGateway blog/nat-1", HourlyUSD: 0.059}, {What: "ec2:Instance blog/main", Unknown: true}, {What: "ec2:Volume jenkins-home", HourlyUSD: 0.0025, Data: true},
	}}.Sum()}, Style{UTF8: true, Width: 80})
	golden(t, "status.txt", b.String())
}
