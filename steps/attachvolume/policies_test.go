package attachvolume_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/cloudtest"
	emu "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/attachvolume"
)

const podTrust = `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "pods.eks.amazonaws.com"}, "Action": ["sts:AssumeRole", "sts:TagSession"]}]}`

// TestTheDriverOfTheNextClusterMayHaveTheVolume asks IAM as the driver of a cluster, under each policy that AWS has for it: a volume has
// the tags of nobody, or of the cluster before, then those that the step writes.
func TestTheDriverOfTheNextClusterMayHaveTheVolume(t *testing.T) {
	next := steps.ClusterRef{EKS: &steps.EKSCluster{Name: "next", Region: emu.FixtureRegion}}
	bare, before := map[string]string{"Name": "home"}, attachvolume.WantTags(steps.ClusterRef{EKS: &steps.EKSCluster{Name: "blog"}})
	for policy, refused := range map[string]map[string]bool{ // by the tags that the volume has
		"AmazonEBSCSIDriverPolicy":                 {"bare": false, "before": false},
		"AmazonEBSCSIDriverPolicyV2":               {"bare": true, "before": false},
		"AmazonEBSCSIDriverEKSClusterScopedPolicy": {"bare": true, "before": true},
	} {
		for tags, want := range refused {
			t.Run(policy+" "+tags, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := cloudtest.New(t, emu.Options{Seed: 7, EvaluateRoles: true})
					driver, node := driverOf(t, w, "next", policy)
					id, err := w.SeedVolume("ap-northeast-2a", 20, map[string]map[string]string{"bare": bare, "before": before}[tags])
					if err != nil {
						t.Fatal(err)
					}
					attach := &ec2.AttachVolumeInput{VolumeId: &id, InstanceId: &node, Device: aws.String("/dev/xvdaa")}
					if want {
						if _, err := driver.AttachVolume(t.Context(), attach); cloud.Code(err) != "UnauthorizedOperation" {
							t.Fatalf("before: %v", err)
						}
					}
					own, err := w.Open(t.Context(), "")
					if err != nil {
						t.Fatal(err)
					}
					if _, err := cloud.EC2(own).CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: []string{id}, Tags: cloud.EC2Tags(attachvolume.WantTags(next))}); err != nil {
						t.Fatal(err)
					}
					if _, err := driver.AttachVolume(t.Context(), attach); err != nil {
						t.Errorf("with its tags: %v", err)
					}
					time.Sleep(time.Minute)
					if _, err := driver.DetachVolume(t.Context(), &ec2.DetachVolumeInput{VolumeId: &id, InstanceId: &node}); err != nil {
						t.Errorf("letting go: %v", err)
					}
				})
			})
		}
	}
}

// driverOf is EC2 as the CSI driver of a cluster sees it, which has its role by Pod Identity, and an instance of one of its nodes.
func driverOf(t *testing.T, w *cloudtest.World, cluster, policy string) (*ec2.Client, string) {
	t.Helper()
	const account = "ebs-csi-controller-sa"
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(w.SeedCluster(t.Context(), emu.ClusterSeed{Name: cluster, Addons: []string{"eks-pod-identity-agent"}}))
	s, err := w.Open(t.Context(), "")
	must(err)
	role, err := cloud.IAM(s).CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: aws.String("driver"), AssumeRolePolicyDocument: aws.String(podTrust)})
	must(err)
	_, err = cloud.IAM(s).AttachRolePolicy(t.Context(), &iam.AttachRolePolicyInput{RoleName: aws.String("driver"), PolicyArn: aws.String("arn:aws:iam::aws:policy/service-role/" + policy)})
	must(err)
	time.Sleep(time.Minute)
	_, err = cloud.EKS(s).CreatePodIdentityAssociation(t.Context(), &eks.CreatePodIdentityAssociationInput{ClusterName: &cluster, Namespace: aws.String("kube-system"),
		ServiceAccount: aws.String(account), RoleArn: role.Role.Arn})
	must(err)
	pod := cloudtest.Pod("kube-system", account+"-0", account)
	runs := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: account}}
	k, err := w.Kube(cluster, pod, runs).Open(t.Context(), steps.ClusterRef{EKS: &steps.EKSCluster{Name: cluster}})
	must(err)
	token, _, err := k.PodToken(t.Context(), pod, []string{"pods.eks.amazonaws.com"}, time.Hour)
	must(err)
	got, err := s.AssumeRoleForPodIdentity(t.Context(), cluster, token)
	must(err)
	cfg := s.Config.Copy()
	cfg.Credentials = credentials.StaticCredentialsProvider{Value: got.Credentials}
	nodes, err := s.Instances(t.Context(), cloud.Filter("tag:eks:cluster-name", cluster), cloud.Filter("availability-zone", "ap-northeast-2a"))
	must(err)
	if len(nodes) == 0 {
		t.Fatal("no node")
	}
	return ec2.NewFromConfig(cfg), aws.ToString(nodes[0].InstanceId)
}
