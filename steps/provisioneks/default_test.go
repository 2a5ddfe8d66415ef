package provisioneks_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps/provisioneks"
)

func TestWhatTheFileDoesNotSayIsSafe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 107})
		if _, err := w.Apply(t.Context(), provisioneks.New(w.Open, nil), cloudtest.Input(t, "{name: blog, nodeGroups: [{name: main, instanceTypes: [t3.medium]}]}")); err != nil {
			t.Fatal(err)
		}
		s := session(t, w)
		templates, err := cloud.EC2(s).DescribeLaunchTemplates(t.Context(), &ec2.DescribeLaunchTemplatesInput{})
		if err != nil || len(templates.LaunchTemplates) != 1 {
			t.Fatalf("%v, %+v, want one launch template", err, templates)
		}
		versions, err := cloud.EC2(s).DescribeLaunchTemplateVersions(t.Context(), &ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: templates.LaunchTemplates[0].LaunchTemplateId})
		if err != nil || len(versions.LaunchTemplateVersions) != 1 {
			t.Fatalf("%v, %+v, want one version of it", err, versions)
		}
		lt := versions.LaunchTemplateVersions[0].LaunchTemplateData
		if m := lt.MetadataOptions; m == nil || m.HttpTokens != ec2types.LaunchTemplateHttpTokensStateRequired || aws.ToInt32(m.HttpPutResponseHopLimit) != 2 {
			t.Errorf("instance metadata: %+v, want tokens required, and two hops for pods", m)
		}
		if len(lt.BlockDeviceMappings) != 1 || !aws.ToBool(lt.BlockDeviceMappings[0].Ebs.Encrypted) || lt.BlockDeviceMappings[0].Ebs.VolumeType != ec2types.VolumeTypeGp3 {
			t.Errorf("disks: %+v, want one encrypted gp3", lt.BlockDeviceMappings)
		}
		o, err := cloud.EKS(s).DescribeCluster(t.Context(), &eks.DescribeClusterInput{Name: aws.String("blog")})
		if err != nil {
			t.Fatal(err)
		}
		v := o.Cluster.ResourcesVpcConfig
		if o.Cluster.AccessConfig.AuthenticationMode != ekstypes.AuthenticationModeApi || !v.EndpointPublicAccess || !v.EndpointPrivateAccess || len(v.SecurityGroupIds) > 0 || len(o.Cluster.EncryptionConfig) > 0 {
			t.Errorf("cluster: %+v, %+v, want access entries, both endpoints, no security group and no key of the account's", o.Cluster.AccessConfig, v)
		}
		for _, l := range o.Cluster.Logging.ClusterLogging {
			if aws.ToBool(l.Enabled) && len(l.Types) > 0 {
				t.Errorf("logs that nobody asked for: %v", l.Types)
			}
		}
		subnets, err := cloud.EC2(s).DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{Filters: []ec2types.Filter{cloud.Filter("vpc-id", *v.VpcId)}})
		if err != nil {
			t.Fatal(err)
		}
		var roles []string
		for _, sub := range subnets.Subnets {
			for key, value := range cloud.EC2TagMap(sub.Tags) {
				if role, ok := strings.CutPrefix(key, "kubernetes.io/role/"); ok && value == "1" {
					roles = append(roles, role)
				}
			}
		}
		slices.Sort(roles)
		if want := []string{"elb", "elb", "elb", "internal-elb", "internal-elb", "internal-elb"}; !slices.Equal(roles, want) {
			t.Errorf("subnets for load balancers: %v, want %v", roles, want)
		}
		for _, c := range w.Calls() {
			if c.Action == "CreateSecurityGroup" || strings.Contains(c.Params, "ThumbprintList") {
				t.Errorf("%s: neither security group nor thumbprint is wanted", c)
			}
		}
	})
}
