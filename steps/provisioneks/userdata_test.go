package provisioneks_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/eks"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps/provisioneks"
)

// own is a node group of an image of one's own; more goes into its launch template, with \n for a new line.
func own(more string) string { return ", launchTemplate: {imageId: ami-0123456789abcdef0" + more + "}" }

// told is the user data that the launch template of node group n gives.
func told(t *testing.T, w *cloudtest.World) string {
	t.Helper()
	lt := group(t, w, "n").LaunchTemplate
	o, err := cloud.EC2(session(t, w)).DescribeLaunchTemplateVersions(t.Context(), &ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: lt.Id, Versions: []string{*lt.Version}})
	if err != nil {
		t.Fatal(err)
	}
	text, err := base64.StdEncoding.DecodeString(aws.ToString(o.LaunchTemplateVersions[0].LaunchTemplateData.UserData))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestNodesOfAnImageOfOnesOwnAreToldTheirCluster(t *testing.T) {
	for name, c := range map[string]struct{ template, want string }{
		"Amazon Linux 2023":              {"", "apiServerEndpoint: https://blog.eks"},
		"a script of one's own":          {`, userData: "#!/bin/sh\necho hello\n"`, "text/x-shellscript; charset=\"utf-8\"\n\n#!/bin/sh\necho hello"},
		"cloud-config of one's own":      {`, userData: "#cloud-config\npackages: [htop]\n"`, "text/cloud-config"},
		"settings for the kubelet":       {`, userData: "apiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec: {kubelet: {config: {maxPods: 20}}}\n"`, "maxPods: 20"},
		"parts of one's own":             {`, userData: "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: text/x-shellscript\nContent-Transfer-Encoding: base64\n\nIyEvYmluL3NoCg==\n--x--\n"`, "text/x-shellscript\n\n#!/bin/sh"},
		"Bottlerocket":                   {", amiFamily: Bottlerocket", "cluster-dns-ip = \"172.20.0.10\""},
		"settings of one's own in a row": {`, amiFamily: Bottlerocket, userData: "[settings.host-containers.admin]\nenabled = true\n\n[settings.kubernetes] # ours too\nmax-pods = 20\n[settings.ntp]\ntime-servers = []\n"`, "max-pods = 20"},
		"an image that joins by itself":  {`, amiFamily: Custom, userData: "#!/bin/sh\n/etc/eks/bootstrap.sh blog\n"`, "#!/bin/sh\n/etc/eks/bootstrap.sh blog\n"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := cloudtest.New(t, emulator.Options{Seed: 84})
				d, in := provisioneks.New(w.Open, nil), oneGroup(t, own(c.template))
				if _, err := w.Apply(t.Context(), d, in); err != nil {
					t.Fatal(err)
				}
				if got := told(t, w); !strings.Contains(got, c.want) {
					t.Errorf("the nodes are told\n%s\nwant %q in it", got, c.want)
				}
				mark := w.Mark()
				if _, err := w.Apply(t.Context(), d, in); err != nil {
					t.Fatal(err)
				}
				if _, writes := w.Count(mark); writes != 0 {
					t.Errorf("second run: %d writes", writes)
				}
			})
		})
	}
}

func TestNodesThatAreToldNothingAreFoundOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 85})
		_, err := w.Apply(t.Context(), provisioneks.New(w.Open, nil), oneGroup(t, own(", amiFamily: Custom")))
		if err == nil || !strings.Contains(err.Error(), "NodeCreationFailure") || !strings.Contains(strings.Join(hints(flatten(err)[0]), " "), "launchTemplate.amiFamily") {
			t.Errorf("got %v, %q, want nodes that never join and a hint that names the field", err, hints(flatten(err)[0]))
		}
	})
}

func TestUserDataThatChangesIsRolledOutAndNotShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 86})
		d := provisioneks.New(w.Open, nil)
		in := oneGroup(t, own(`, userData: "#!/bin/sh\ntoken=sesame\n"`))
		if _, err := w.Apply(t.Context(), d, oneGroup(t, own(""))); err != nil {
			t.Fatal(err)
		}
		p, err := d.Plan(t.Context(), w.Env(), in)
		if text := fmt.Sprint(p.Changes); err != nil || !strings.Contains(text, "launchTemplate.userData: have sha256:") || strings.Contains(text, "sesame") {
			t.Errorf("plan %s, %v, want the change by digest", text, err)
		}
		if _, err := w.Apply(t.Context(), d, in); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(told(t, w), "token=sesame") {
			t.Error("the node group is not of the new version")
		}
	})
}

// A cluster that is made anew has another endpoint and certificate: nodes of the old template would look for one that is gone.
func TestTemplateFollowsAClusterThatIsMadeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 87})
		d, in := provisioneks.New(w.Open, nil), oneGroup(t, own(""))
		if _, err := w.Apply(t.Context(), d, in); err != nil {
			t.Fatal(err)
		}
		before, api := told(t, w), cloud.EKS(session(t, w))
		if _, err := api.DeleteNodegroup(t.Context(), &eks.DeleteNodegroupInput{ClusterName: aws.String("blog"), NodegroupName: aws.String("n")}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		if _, err := api.DeleteCluster(t.Context(), &eks.DeleteClusterInput{Name: aws.String("blog")}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		p, err := d.Plan(t.Context(), w.Env(), in)
		if err != nil || !strings.Contains(fmt.Sprint(p.Changes), "launchTemplate.userData: have that of an earlier cluster") {
			t.Errorf("plan %v, %v", p.Changes, err)
		}
		if _, err := w.Apply(t.Context(), d, in); err != nil {
			t.Fatal(err)
		}
		if told(t, w) == before {
			t.Error("the nodes are told of the cluster that is gone")
		}
	})
}

func TestUserDataThatWouldContradictIsRefused(t *testing.T) {
	for name, c := range map[string]struct{ template, field, want string }{
		"a cluster in a NodeConfig":     {`imageId: ami-1, userData: "apiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec: {cluster: {name: other}}\n"`, "userData", "spec.cluster.name"},
		"a script that bootstraps":      {`imageId: ami-1, userData: "#!/bin/sh\n/etc/eks/bootstrap.sh blog\n"`, "userData", "/etc/eks/bootstrap.sh"},
		"prose":                         {`imageId: ami-1, userData: "hello"`, "userData", "neither a script"},
		"a part of a broken document":   {`imageId: ami-1, userData: "MIME-Version: 1.0\n\nhello"`, "userData", "multipart"},
		"a cluster in TOML":             {`imageId: ami-1, amiFamily: Bottlerocket, userData: "[settings.kubernetes]\napi-server = 'https://x'\n"`, "userData", "settings.kubernetes.api-server"},
		"TOML with keys of many parts":  {`imageId: ami-1, amiFamily: Bottlerocket, userData: "settings.kubernetes.max-pods = 1\n"`, "userData", "outside a table"},
		"a script for Bottlerocket":     {`imageId: ami-1, amiFamily: Bottlerocket, userData: "#!/bin/sh\n"`, "userData", "no TOML"},
		"more than EC2 takes":           {`imageId: ami-1, userData: "#!/bin/sh\n` + strings.Repeat("a", 14<<10) + `"`, "userData", "at most 13312 bytes"},
		"a family without an image":     {`amiFamily: Bottlerocket`, "amiFamily", "only with launchTemplate.imageId"},
		"user data for an image of EKS": {`userData: "#!/bin/sh\n"`, "userData", "only with launchTemplate.imageId"},
	} {
		t.Run(name, func(t *testing.T) {
			ps := provisioneks.New(nil, nil).Check(oneGroup(t, ", launchTemplate: {"+c.template+"}"))
			if len(ps) != 1 || ps[0].Path != "nodeGroups[0].launchTemplate."+c.field || !strings.Contains(ps[0].Message, c.want) || ps[0].Hint == "" {
				t.Errorf("got %+v, want one problem at %s that says %q", ps, c.field, c.want)
			}
		})
	}
}
