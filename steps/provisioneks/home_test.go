package provisioneks_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/provisioneks"
)

const byTags = "{name: blog, network: {vpcTags: {Name: theirs}, subnetTags: {kubernetes.io/role/internal-elb: '1'}}, nodeGroups: [{name: n, instanceTypes: [t3.small]}]}"

// theirs is an account in which somebody else has a VPC with private and public subnets, and a cluster in it.
func theirs(t *testing.T, seed int64) (*cloudtest.World, provisioneks.Outputs) {
	t.Helper()
	w := cloudtest.New(t, emulator.Options{Seed: seed})
	env := w.Env()
	env.Identity.Pipeline = "theirs"
	raw, err := provisioneks.New(w.Open, nil).Apply(t.Context(), env, cloudtest.Input(t, "{name: theirs}"))
	if err != nil {
		t.Fatal(err)
	}
	var out provisioneks.Outputs
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return w, out
}

// lasting is how many things there are but for the service-linked roles, which AWS makes once for an account.
func lasting(w *cloudtest.World) int {
	n := 0
	for _, r := range w.Resources() {
		if !strings.Contains(r.ID, "aws-service-role") {
			n++
		}
	}
	return n
}

func TestVPCOfSomebodyElseIsUsedAndLeftAsItIs(t *testing.T) {
	for name, spec := range map[string]func(provisioneks.Outputs) string{
		"by tags": func(provisioneks.Outputs) string { return byTags },
		"by ids": func(o provisioneks.Outputs) string {
			return fmt.Sprintf("{name: blog, network: {vpcId: %s, subnetIds: [%s]}, nodeGroups: [{name: n, instanceTypes: [t3.small]}]}", o.VPCID, strings.Join(o.SubnetIDs.Private, ", "))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, there := theirs(t, 111)
				d, in := provisioneks.New(w.Open, nil), cloudtest.Input(t, spec(there))
				before := lasting(w)
				raw, err := w.Apply(t.Context(), d, in)
				if err != nil {
					t.Fatal(err)
				}
				var out provisioneks.Outputs
				if err := json.Unmarshal(raw, &out); err != nil || out.VPCID != there.VPCID || strings.Join(out.SubnetIDs.Private, " ") != strings.Join(there.SubnetIDs.Private, " ") {
					t.Errorf("got %s, want VPC %s with %v", raw, there.VPCID, there.SubnetIDs.Private)
				}
				mark := w.Mark()
				if _, err := w.Apply(t.Context(), d, in); err != nil {
					t.Fatal(err)
				}
				if _, writes := w.Count(mark); writes != 0 {
					t.Errorf("second run: %d writes", writes)
				}
				if err := w.Down(t.Context(), d, in, false); err != nil {
					t.Fatal(err)
				}
				if after := lasting(w); after != before {
					t.Errorf("%d things after, %d before", after, before)
				}
				if err := w.Down(t.Context(), d, in, false); err != nil {
					t.Errorf("down of nothing: %v", err)
				}
			})
		})
	}
}

func TestVPCOfSomebodyElseIsCheckedBeforeTheFirstWrite(t *testing.T) {
	for name, c := range map[string]struct {
		spec, want string
		prepare    func(*testing.T, *ec2.Client, provisioneks.Outputs) error
	}{
		"no VPC has the tags": {strings.Replace(byTags, "Name: theirs", "Name: nobody", 1), "no VPC of this region has Name=nobody", nil},
		"two VPCs have the tags": {byTags, "have Name=theirs, expected one", func(t *testing.T, api *ec2.Client, _ provisioneks.Outputs) error {
			_, err := api.CreateVpc(t.Context(), &ec2.CreateVpcInput{CidrBlock: aws.String("10.9.0.0/16"), TagSpecifications: cloud.TagAtCreate(ec2types.ResourceTypeVpc, map[string]string{"Name": "theirs"})})
			return err
		}},
		"no subnet has the tags": {strings.Replace(byTags, "internal-elb", "nothing", 1), "0 subnets of vpc-", nil},
		"names do not resolve": {byTags, "enableDnsHostnames of vpc-", func(t *testing.T, api *ec2.Client, o provisioneks.Outputs) error {
			_, err := api.ModifyVpcAttribute(t.Context(), &ec2.ModifyVpcAttributeInput{VpcId: &o.VPCID, EnableDnsHostnames: &ec2types.AttributeBooleanValue{Value: aws.Bool(false)}})
			return err
		}},
		"nodes would have no public address": {strings.Replace(byTags, "internal-elb", "elb", 1), "would get no public address", nil},
		"the way out is gone": {byTags, "leads nowhere", func(t *testing.T, api *ec2.Client, _ provisioneks.Outputs) error {
			o, err := api.DescribeNatGateways(t.Context(), &ec2.DescribeNatGatewaysInput{})
			if err == nil {
				_, err = api.DeleteNatGateway(t.Context(), &ec2.DeleteNatGatewayInput{NatGatewayId: o.NatGateways[0].NatGatewayId})
			}
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, there := theirs(t, 112)
				if c.prepare != nil {
					if err := c.prepare(t, cloud.EC2(session(t, w)), there); err != nil {
						t.Fatal(err)
					}
					synctest.Wait()
				}
				mark := w.Mark()
				err := provisioneks.New(w.Open, nil).Preflight(t.Context(), w.Env(), cloudtest.Input(t, c.spec))
				var all []string
				for _, one := range flatten(err) {
					all = append(all, fmt.Sprint(one))
				}
				if err == nil || !strings.Contains(strings.Join(all, "\n"), c.want) || steps.Classify(flatten(err)[0]).Category.ExitCode() != 10 {
					t.Errorf("got %v, want %q", all, c.want)
				}
				if _, writes := w.Count(mark); writes != 0 {
					t.Errorf("%d writes", writes)
				}
			})
		})
	}
}

func TestSpecOfANetworkThatExists(t *testing.T) {
	for name, c := range map[string]struct{ network, path string }{
		"an id and tags":           {"{vpcId: vpc-1, vpcTags: {a: b}, subnetIds: [a, b]}", "network.vpcTags"},
		"ids and tags of subnets":  {"{vpcId: vpc-1, subnetIds: [a, b], subnetTags: {a: b}}", "network.subnetTags"},
		"no subnets":               {"{vpcTags: {a: b}}", "network.subnetIds"},
		"tags of subnets of ours":  {"{subnetTags: {a: b}}", "network.subnetTags"},
		"ranges in somebody's VPC": {"{vpcTags: {a: b}, subnetTags: {a: b}, cidr: 10.0.0.0/16}", "network.vpcId"},
	} {
		t.Run(name, func(t *testing.T) {
			ps := provisioneks.New(nil, nil).Check(cloudtest.Input(t, "{name: a, network: "+c.network+"}"))
			if len(ps) != 1 || ps[0].Path != c.path || ps[0].Line == 0 {
				t.Errorf("got %+v, want one problem at %s", ps, c.path)
			}
		})
	}
}
