package attachvolume_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/cloudtest"
	"pipectl.dev/cloud/cloudtest/calls"
	emu "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/attachvolume"
)

func TestPermissionsAskedForAreThoseOfTheCallsMade(t *testing.T) {
	t.Parallel()
	var made []string
	for _, c := range calls.In(t, "*.go") {
		made = append(made, c.IAM())
	}
	slices.Sort(made)
	if made = slices.Compact(made); !slices.Equal(made, attachvolume.Actions()) {
		t.Errorf("the preflight asks for %v, the step calls %v", attachvolume.Actions(), made)
	}
}

func TestPreflightTellsOfMissingPermissionsBeforeTheClusterIsThere(t *testing.T) {
	t.Parallel()
	const user = "arn:aws:iam::111122223333:user/rehearsal"
	looks := []string{"ec2:Describe*", "iam:SimulatePrincipalPolicy", "sts:*"}
	tagged := map[string]string{"ebs.csi.aws.com/cluster": "true", "ebs.csi.aws.com/cluster-name": "blog"}
	for name, c := range map[string]struct {
		may     []string
		tags    map[string]string
		unknown bool // which volume it will be
		want    string
	}{
		"all is allowed":             {append([]string{"ec2:CreateTags"}, looks...), nil, false, ""},
		"it may not tag":             {looks, nil, false, "the caller may not ec2:CreateTags"},
		"the volume comes later":     {looks, nil, true, "the caller may not ec2:CreateTags"},
		"the volume has its tags":    {looks, tagged, false, ""},
		"and will have them, it may": {append([]string{"ec2:CreateTags"}, looks...), nil, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := cloudtest.New(t, emu.Options{Seed: 7, Policies: map[string][]string{user: append(slices.Clone(c.may), "ec2:CreateVolume")}})
				s, err := w.Open(t.Context(), "")
				if err != nil {
					t.Fatal(err)
				}
				in := &ec2.CreateVolumeInput{AvailabilityZone: aws.String("ap-northeast-2a"), Size: aws.Int32(8), VolumeType: ec2types.VolumeTypeGp3}
				if c.tags != nil {
					in.TagSpecifications = cloud.TagAtCreate(ec2types.ResourceTypeVolume, c.tags)
				}
				v, err := cloud.EC2(s).CreateVolume(t.Context(), in)
				if err != nil {
					t.Fatal(err)
				}
				doc := cloudtest.Input(t, "{cluster: {eks: {name: blog, region: ap-northeast-2}}, volume: "+*v.VolumeId+", claim: jenkins/home}")
				if c.unknown {
					doc = cloudtest.Input(t, "{cluster: {eks: {name: blog, region: ap-northeast-2}}, volume: null, claim: jenkins/home}")
					doc.Partial = []string{"volume"}
				}
				mark := w.Mark()
				err = attachvolume.New(w.Open, nil).Preflight(t.Context(), w.Env(), doc)
				switch {
				case c.want == "" && err != nil:
					t.Errorf("got %v", err)
				case c.want != "" && (err == nil || steps.Classify(err).Category.ExitCode() != 11 || !strings.Contains(err.Error(), c.want)):
					t.Errorf("got %v, want exit 11 and %q", err, c.want)
				}
				if _, writes := w.Count(mark); writes != 0 {
					t.Errorf("%d writes", writes)
				}
			})
		})
	}
}
