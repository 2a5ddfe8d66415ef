package provisioneks_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/provisioneks"
)

func TestNodesThatCannotJoinAreDiagnosedLongBeforeEKSGivesUp(t *testing.T) {
	table := func(ctx context.Context, s *cloud.Session) *string {
		o, _ := cloud.EC2(s).DescribeRouteTables(ctx, &ec2.DescribeRouteTablesInput{Filters: append(cloud.OwnedBy("111122223333/ap-northeast-2/blog"), cloud.Filter("tag:"+cloud.TagName, "blog/private"))})
		return o.RouteTables[0].RouteTableId
	}
	role := func(ctx context.Context, s *cloud.Session) *string {
		o, _ := cloud.EKS(s).DescribeNodegroup(ctx, &eks.DescribeNodegroupInput{ClusterName: aws.String("blog"), NodegroupName: aws.String("n")})
		return o.Nodegroup.NodeRole
	}
	for name, c := range map[string]struct {
		endpoint, want, hint string
		sabotage             func(context.Context, *cloud.Session) error
	}{
		"the default route is gone": {"{}", "has no default route", "set network.nat", func(ctx context.Context, s *cloud.Session) error {
			_, err := cloud.EC2(s).DeleteRoute(ctx, &ec2.DeleteRouteInput{RouteTableId: table(ctx, s), DestinationCidrBlock: aws.String("0.0.0.0/0")})
			return err
		}},
		"the NAT gateway is gone": {"{}", "leads to nat-", "the next run makes", func(ctx context.Context, s *cloud.Session) error {
			o, err := cloud.EC2(s).DescribeNatGateways(ctx, &ec2.DescribeNatGatewaysInput{})
			if err == nil {
				_, err = cloud.EC2(s).DeleteNatGateway(ctx, &ec2.DeleteNatGatewayInput{NatGatewayId: o.NatGateways[0].NatGatewayId})
			}
			return err
		}},
		"the role lacks the policy of the network plugin": {"{}", "lacks AmazonEKS_CNI_Policy", "it is attached", func(ctx context.Context, s *cloud.Session) error {
			name := (*role(ctx, s))[strings.LastIndex(*role(ctx, s), "/")+1:]
			_, err := cloud.IAM(s).DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: &name, PolicyArn: aws.String("arn:aws:iam::aws:policy/AmazonEKS_CNI_Policy")})
			return err
		}},
		"the access entry is gone": {"{}", "has no access entry", "create-access-entry", func(ctx context.Context, s *cloud.Session) error {
			_, err := cloud.EKS(s).DeleteAccessEntry(ctx, &eks.DeleteAccessEntryInput{ClusterName: aws.String("blog"), PrincipalArn: role(ctx, s)})
			return err
		}},
		"the endpoint lets only the caller in": {"{private: false, publicCIDRs: [198.51.100.0/24]}", "the nodes come from 203.0.113.", "set endpoint.private: true", func(context.Context, *cloud.Session) error { return nil }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := cloudtest.New(t, emulator.Options{Seed: 61})
				s := session(t, w)
				var sabotaged error
				w.OnCall("eks", "CreateNodegroup", func() {
					go func() {
						time.Sleep(time.Minute)
						sabotaged = c.sabotage(t.Context(), s)
					}()
				})
				start := time.Now()
				_, err := w.Apply(t.Context(), provisioneks.New(w.Open, nil), cloudtest.Input(t, "{name: blog, endpoint: "+c.endpoint+", nodeGroups: [{name: n, instanceTypes: [t3.medium]}]}"))
				e := steps.Classify(err)
				if err == nil || e.Code != "NodesDoNotJoin" || e.Category.ExitCode() != 17 || !strings.Contains(e.Message, c.want) || !strings.Contains(strings.Join(e.Hints, " "), c.hint) || sabotaged != nil {
					t.Errorf("got %v, hints %q, want %q and %q; %v", err, e.Hints, c.want, c.hint, sabotaged)
				}
				if took := time.Since(start); took > 16*time.Minute {
					t.Errorf("told only after %s", took)
				}
			})
		})
	}
}
