//go:build conformance

package conformance

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// proof is where AWS documents that the emulator is right, or not wrong: a page of its API references, and what that says.
type proof struct{ page, says string }

// url is the page's address.
func (p proof) url() string {
	service, name, _ := strings.Cut(p.page, " ")
	return "https://docs.aws.amazon.com/" + service + "/latest/APIReference/API_" + name + ".html"
}

// notTold is why of some things less is told than AWS and moto do.
const notTold = "no member is required. The emulator tells what decides about nodes and pods, and no more"

var overTemplate = proof{"eks Nodegroup", "'If the node group was deployed with a launch template, then this value is null'"}

// rightInSpite are differences in which the emulator is right, or not wrong. A key that ends in * stands for all that begin so.
var rightInSpite = map[string]proof{
	// Against the model.
	"ec2 DescribeInternetGateways .InternetGateways[].Attachments[].State": {"AWSEC2 InternetGatewayAttachment", "'For an internet gateway, the state is available when attached to a VPC'"},
	"ec2 DescribeNetworkInterfaces .NetworkInterfaces[].InterfaceType":     {"AWSEC2 DescribeNetworkInterfaces", "filter interface-type: the value of a NAT gateway's is nat_gateway; the enum of the model says natGateway"},
	// Against moto.
	"ec2 ModifyVolume .VolumeModification.EndTime":                                       {"AWSEC2 VolumeModification", "the modification completion or failure time; it has only begun"},
	"ec2 DescribeVpcs .Vpcs[].Ipv6CidrBlockAssociationSet":                               {"AWSEC2 Vpc", "information about the IPv6 CIDR blocks associated with the VPC; there is none"},
	"ec2 DescribeAddresses .Addresses[].InstanceId":                                      {"AWSEC2 Address", "the instance that the address is associated with (if any); it is a NAT gateway's"},
	"ec2 DescribeInstanceTypes .InstanceTypes[].*":                                       {"AWSEC2 InstanceTypeInfo", notTold},
	"ec2 DescribeInstances .Reservations[].Groups":                                       {"AWSEC2 Reservation", "groupSet: 'Not supported'"},
	"ec2 DescribeInstances .Reservations[].Instances[].NetworkInterfaces[].Association*": {"AWSEC2 InstanceNetworkInterface", "the association information for an Elastic IPv4; a node in a private subnet has none"},
	"ec2 DescribeInstances .Reservations[].Instances[].SriovNetSupport":                  {"AWSEC2 Instance", "of the Intel 82599 Virtual Function interface; t3 has an Elastic Network Adapter"},
	"ec2 DescribeInstances .Reservations[].Instances[].StateReason*":                     {"AWSEC2 Instance", "'The reason for the most recent state transition'; it runs since it was launched"},
	"ec2 DescribeImages .Images[].ImageOwnerAlias":                                       {"AWSEC2 Image", "the owner alias (amazon, aws-backup-vault, aws-marketplace); it is the account's own"},
	"kms DescribeKey .KeyMetadata.SigningAlgorithms":                                     {"kms KeyMetadata", "'This field appears only when the KeyUsage of the KMS key is SIGN_VERIFY'"},
	"eks DescribeCluster .cluster.encryptionConfig":                                      {"eks Cluster", "the encryption configuration for the cluster; it has none"},
	"eks DescribeNodegroup .nodegroup.diskSize":                                          overTemplate,
	"eks DescribeNodegroup .nodegroup.remoteAccess*":                                     overTemplate,
	"eks DescribeNodegroup .nodegroup.resources.remoteAccessSecurityGroup":               {"eks NodegroupResources", "the remote access security group; there is no remote access"},
	"iam CreateRole .Role.RoleLastUsed":                                                  {"IAM Role", "RoleLastUsed: returned by GetRole and GetAccountAuthorizationDetails"},
}

// whileItRuns are fields that moto has at once, and the emulator when a change has come so far, which it may have when it is asked about.
var whileItRuns = []string{"ec2 DescribeVolumesModifications .VolumesModifications[].EndTime"}

// excuse is the entry of rightInSpite or whileItRuns that covers a field, if one does.
func excuse(field string) string {
	for _, key := range slices.AppendSeq(slices.Clone(whileItRuns), maps.Keys(rightInSpite)) {
		if prefix, all := strings.CutSuffix(key, "*"); key == field || all && strings.HasPrefix(field, prefix) {
			return key
		}
	}
	return ""
}

// stillDiffer logs what is spared, and fails for what need not be.
func stillDiffer(t *testing.T, spared map[string]bool) {
	t.Helper()
	for _, key := range slices.Sorted(maps.Keys(rightInSpite)) {
		p := rightInSpite[key]
		if !spared[key] {
			t.Errorf("%s: no longer a difference: strike it from the table", key)
		}
		t.Logf("%s: the emulator is right: %s: %s", key, p.says, p.url())
	}
}

// motoMute are calls that moto has no answer to, so that the emulator's is held against the service's model alone. An entry that moto answers
// by now fails the test.
var motoMute = map[string]string{
	"eks DescribeClusterVersions":              "not implemented",
	"eks DescribeUpdate":                       "not implemented",
	"eks DescribeAddonVersions":                "moto has no add-ons",
	"eks CreateAddon":                          "moto has no add-ons",
	"eks DescribeAddon":                        "moto has no add-ons",
	"eks ListAddons":                           "moto has no add-ons",
	"eks CreateAccessEntry":                    "moto has no access entries",
	"eks AssociateAccessPolicy":                "moto has no access entries",
	"eks DescribeAccessEntry":                  "moto has no access entries",
	"eks ListAccessEntries":                    "moto has no access entries",
	"eks ListAssociatedAccessPolicies":         "moto has no access entries",
	"eks CreatePodIdentityAssociation":         "moto has no pod identity associations",
	"eks ListPodIdentityAssociations":          "moto has no pod identity associations",
	"eks DescribePodIdentityAssociation":       "moto has no pod identity associations",
	"iam SimulatePrincipalPolicy":              "not implemented",
	"service-quotas GetAWSDefaultServiceQuota": "not implemented",
}
