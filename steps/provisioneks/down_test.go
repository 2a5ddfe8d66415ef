package provisioneks_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/provisioneks"
)

func TestDownRemovesWhatHasLeftTheSpec(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 49})
		d := provisioneks.New(w.Open, nil)
		if _, err := w.Apply(t.Context(), d, cloudtest.Input(t, strings.Replace(post, "nat: single", "nat: per-az", 1))); err != nil {
			t.Fatal(err)
		}
		if err := w.Down(t.Context(), d, cloudtest.Input(t, "{name: blog, network: {nat: none}}"), false); err != nil {
			t.Fatal(err)
		}
		if left := w.Leftovers(nil); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}

func TestDownNamesWhatBlocksItThenGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 50})
		d, in := provisioneks.New(w.Open, nil), cloudtest.Input(t, post)
		raw, err := w.Apply(t.Context(), d, in)
		if err != nil {
			t.Fatal(err)
		}
		var out provisioneks.Outputs
		if err := json.Unmarshal(raw, &out); err != nil {
			t.Fatal(err)
		}
		api := cloud.EC2(session(t, w))
		theirs, err := api.CreateSubnet(t.Context(), &ec2.CreateSubnetInput{VpcId: &out.VPCID, CidrBlock: aws.String("10.0.99.0/24")})
		if err != nil {
			t.Fatal(err)
		}
		err = w.Down(t.Context(), d, in, false)
		if e := steps.Classify(err); err == nil || e.Category.ExitCode() != 16 || !strings.Contains(err.Error(), aws.ToString(theirs.Subnet.SubnetId)) {
			t.Errorf("got %v, want exit 16 and the subnet of somebody else named", err)
		}
		if _, err := api.DeleteSubnet(t.Context(), &ec2.DeleteSubnetInput{SubnetId: theirs.Subnet.SubnetId}); err != nil {
			t.Fatal(err)
		}
		if err := w.Down(t.Context(), d, in, false); err != nil {
			t.Fatal(err)
		}
		if left := w.Leftovers(nil); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}

// What is there again once all was removed, such as of a run beside it that held no lock, is found by the look at the end.
func TestDownFindsWhatCameBackAndSaysWhatItCosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 51})
		d, in := provisioneks.New(w.Open, nil), cloudtest.Input(t, post)
		if _, err := w.Apply(t.Context(), d, in); err != nil {
			t.Fatal(err)
		}
		api, tags := cloud.EC2(session(t, w)), cloud.Tags(w.Env().Identity.String(), "ec2:ElasticIp", "blog/nat-1")
		gateway := func(r emulator.Resource) bool { return r.Kind == "internet-gateway" }
		go func() {
			for slices.ContainsFunc(w.Leftovers(nil), gateway) { // it goes after the address
				time.Sleep(time.Second)
			}
			if _, err := api.AllocateAddress(t.Context(), &ec2.AllocateAddressInput{TagSpecifications: cloud.TagAtCreate(ec2types.ResourceTypeElasticIp, tags)}); err != nil {
				t.Error(err)
			}
		}()
		err := w.Down(t.Context(), d, in, false)
		if e := steps.Classify(err); err == nil || e.Code != "Leftovers" || e.Category.ExitCode() != 16 ||
			!strings.Contains(err.Error(), "still there: ec2:ElasticIp/blog/nat-1 (eipalloc-") || !strings.Contains(err.Error(), ", 0.12 USD a day)") {
			t.Errorf("got %v, want exit 16, and the address with its price a day", err)
		}
		if err := w.Down(t.Context(), d, in, false); err != nil {
			t.Fatal(err)
		}
		if left := w.Leftovers(nil); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}
