package attachvolume_test

import (
	"context"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"pipectl.dev/cloud"
	"pipectl.dev/kube"
	emu "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
)

func TestVolumeOfAStrangerIsRefused(t *testing.T) {
	u, kubeconfig := cluster(t)
	id := seedVolume(t)
	stranger, err := account.SeedInstance(emu.InstanceSeed{Zone: emu.FixtureRegion + "a"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.EC2(session).AttachVolume(t.Context(), &ec2.AttachVolumeInput{VolumeId: &id, InstanceId: &stranger.ID, Device: aws.String("/dev/sdf")}); err != nil {
		t.Fatal(err)
	}
	in := input(t, "{cluster: {kubeconfig: "+kubeconfig+"}, volume: "+id+", claim: other/home}")
	p, err := u.def.Plan(t.Context(), u.env, in)
	if err != nil || p.Outputs != nil || len(p.Forecast.Notes) != 1 {
		t.Errorf("plan: %+v, %v", p, err)
	}
	_, err = u.def.Apply(t.Context(), u.env, in)
	if !kube.HasCode(err, "VolumeInUse") || !strings.Contains(err.Error(), stranger.ID) {
		t.Errorf("apply: %v", err)
	}
	if err := u.def.Release(t.Context(), u.env, in); err != nil {
		t.Errorf("release waits for an attachment that is not ours: %v", err)
	}
	if s := state(t, id); s != "in-use" {
		t.Errorf("volume of a stranger is %s", s)
	}
	_, err = u.def.Plan(t.Context(), u.env, input(t, "{cluster: {kubeconfig: "+kubeconfig+"}, volume: vol-00000000000000000, claim: other/home}"))
	if !kube.HasCode(err, "VolumeNotFound") {
		t.Errorf("plan of a volume that is not there: %v", err)
	}
}

func TestReleaseOfAClusterThatIsGoneWaitsForItsNodes(t *testing.T) {
	gone := func(context.Context, steps.ClusterRef) (*kube.Client, error) {
		return nil, &steps.Error{Code: kube.CodeClusterNotFound, Category: steps.Precondition}
	}
	u := stage(t, gone)
	id := seedVolume(t)
	in := input(t, "{cluster: {eks: {name: blog, region: "+emu.FixtureRegion+"}}, volume: "+id+", claim: other/home, timeout: 10s}")
	if err := u.def.Release(t.Context(), u.env, in); err != nil {
		t.Errorf("free volume: %v", err)
	}
	worker, err := account.SeedInstance(emu.InstanceSeed{Zone: emu.FixtureRegion + "a", Tags: map[string]string{"eks:cluster-name": "blog"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.EC2(session).AttachVolume(t.Context(), &ec2.AttachVolumeInput{VolumeId: &id, InstanceId: &worker.ID, Device: aws.String("/dev/sdf")}); err != nil {
		t.Fatal(err)
	}
	err = u.def.Release(t.Context(), u.env, in)
	if e := steps.Classify(err); e.Category != steps.Timeout || !strings.Contains(e.Message, worker.ID) {
		t.Errorf("volume that a node keeps: %v", err)
	}
	released := make(chan error, 1)
	in = input(t, "{cluster: {eks: {name: blog, region: "+emu.FixtureRegion+"}}, volume: "+id+", claim: other/home}")
	go func() { released <- u.def.Release(t.Context(), u.env, in) }()
	if _, err := cloud.EC2(session).TerminateInstances(t.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{worker.ID}}); err != nil {
		t.Fatal(err)
	}
	if err := <-released; err != nil {
		t.Errorf("node that goes: %v", err)
	}
	if s := state(t, id); s != "available" {
		t.Errorf("volume is %s", s)
	}
}
