package view

import (
	"bytes"
	"testing"

	"pipectl.dev/engine"
	"pipectl.dev/steps"
)

func TestGoldenDoctor(t *testing.T) {
	var b bytes.Buffer
	Doctor(&b, &engine.DoctorReport{Pipeline: "blog", Identity: "123456789012/ap-northeast-2/blog", Stages: []engine.StageDoctor{
		{Stage: "home", Step: "data-volume"},
		{Stage: "cluster", Step: "provision-eks", Notes: []string{"the nodes have room for 3 pods besides the system's own (a t3.small runs at most 11)"}, Checks: []steps.Check{
			{What: "Kubernetes version", Detail: "1.34, standard support until 2026-12-02", OK: true},
			{What: "quota EC2-VPC Elastic IPs", Detail: "5 of 5 used, 1 more needed"},
		}},
		{Stage: "apps", Step: "sync-argocd", Deferred: []engine.Deferred{{Path: "cluster", After: []string{"cluster"}}}},
	}, Errors: []engine.StageError{{Stage: "cluster"}}}, Style{UTF8: true, Width: 80})
	golden(t, "doctor.txt", b.String())
}
