package aws_test

import (
	"encoding/base64"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	emu "pipectl.dev/rehearsal/aws"
)

func TestNodesOfAnImageOfOnesOwnJoinOnlyWhenToldTheirCluster(t *testing.T) {
	const config = "apiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec: {cluster: {name: %s, apiServerEndpoint: '%s', certificateAuthority: %s, cidr: 172.20.0.0/16}}\n"
	const settings = "[settings.kubernetes]\ncluster-name = \"%s\"\napi-server = \"%s\"\ncluster-certificate = \"%s\"\ncluster-dns-ip = \"172.20.0.10\"\n"
	for name, tt := range map[string]struct {
		data  func(name, endpoint, ca string) string
		joins bool
	}{
		"nothing":                  {func(_, _, _ string) string { return "" }, false},
		"a NodeConfig":             {func(n, e, ca string) string { return fmt.Sprintf(config, n, e, ca) }, true},
		"a NodeConfig for another": {func(_, e, ca string) string { return fmt.Sprintf(config, "other", e, ca) }, false},
		"settings of Bottlerocket": {func(n, e, ca string) string { return fmt.Sprintf(settings, n, e, ca) }, true},
		"a table twice":            {func(n, e, ca string) string { return fmt.Sprintf(settings, n, e, ca) + "[settings.kubernetes]\n" }, false},
		"a script that bootstraps": {func(_, _, _ string) string { return "#!/bin/sh\n/etc/eks/bootstrap.sh blog\n" }, true},
		"a script that does not":   {func(_, _, _ string) string { return "#!/bin/sh\necho hello\n" }, false},
		"a document without NodeConfig": {func(_, _, _ string) string {
			return "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: text/x-shellscript\n\n#!/bin/sh\n--x--\n"
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, s := ready(t, emu.Options{})
				c := must(s.eks.DescribeCluster(s.ctx, &eks.DescribeClusterInput{Name: aws.String("blog")}))(t).Cluster
				data := base64.StdEncoding.EncodeToString([]byte(tt.data("blog", *c.Endpoint, *c.CertificateAuthority.Data)))
				lt := must(s.ec2.CreateLaunchTemplate(s.ctx, &ec2.CreateLaunchTemplateInput{LaunchTemplateName: aws.String("own"),
					LaunchTemplateData: &ec2types.RequestLaunchTemplateData{ImageId: aws.String("ami-0123456789abcdef0"), UserData: &data}}))(t)
				poll(t, "template", func() (bool, error) {
					return s.group(func(in *eks.CreateNodegroupInput) {
						in.LaunchTemplate = &ekstypes.LaunchTemplateSpecification{Id: lt.LaunchTemplate.LaunchTemplateId}
					}) == nil, nil
				})
				poll(t, "group", func() (bool, error) { return s.groupNow(t).Status != "CREATING", nil })
				want := ekstypes.NodegroupStatusCreateFailed
				if tt.joins {
					want = ekstypes.NodegroupStatusActive
				}
				if got := s.groupNow(t).Status; got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			})
		})
	}
}
