package provisioneks_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/provisioneks"
)

const refusedRole = "Role with arn: arn:aws:iam::111122223333:role/x, could not be assumed because it does not exist or the trusted entity is not correct"

// refuse makes the next calls of an action end with an answer of AWS's.
func refuse(service, action, code, message string, times int) emulator.Fault {
	return emulator.Fault{Service: service, Action: action, Kind: "refuse", Code: code, Message: message, Times: times}
}

func TestWhatPassesByItselfIsWaitedFor(t *testing.T) {
	for name, f := range map[string]emulator.Fault{
		"EKS does not know the cluster's role yet":        refuse("eks", "CreateCluster", "InvalidParameterException", refusedRole, 4),
		"a service-linked role spreads to the cluster":    refuse("eks", "CreateCluster", "ResourcePropagationDelayException", "service-linked roles were created and are still propagating. Retry later", 4),
		"a service-linked role spreads to the node group": refuse("eks", "CreateNodegroup", "ResourcePropagationDelayException", "service-linked roles were created and are still propagating. Retry later", 4),
		"a role is not there right after it was made":     refuse("iam", "AttachRolePolicy", "NoSuchEntity", "The role with name x cannot be found.", 4),
		"a VPC is not there yet":                          refuse("ec2", "CreateSubnet", "InvalidVpcID.NotFound", "The vpc ID does not exist", 4),
		"attributes of a VPC that is not there yet":       refuse("ec2", "ModifyVpcAttribute", "InvalidVpcID.NotFound", "The vpc ID does not exist", 3),
		"a subnet is not there yet":                       refuse("ec2", "AssociateRouteTable", "InvalidSubnetID.NotFound", "The subnet ID does not exist", 3),
		"a subnet is not there for a NAT gateway":         refuse("ec2", "CreateNatGateway", "InvalidSubnet", "The subnet does not exist", 3),
		"an address is not there yet":                     refuse("ec2", "CreateNatGateway", "InvalidAllocationID.NotFound", "The allocation ID does not exist", 3),
		"a route table is not there yet":                  refuse("ec2", "CreateRoute", "InvalidRouteTableID.NotFound", "The routeTable ID does not exist", 3),
		"an internet gateway is not there yet":            refuse("ec2", "AttachInternetGateway", "InvalidInternetGatewayID.NotFound", "The internetGateway ID does not exist", 3),
		"the issuer of a new cluster does not answer yet": refuse("iam", "CreateOpenIDConnectProvider", "OpenIdIdpCommunicationError", "OpenID Connect IdP could not be reached", 4),
		"an internet gateway is not there for a route":    refuse("ec2", "CreateRoute", "InvalidGatewayID.NotFound", "The gateway ID does not exist", 3),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := cloudtest.New(t, emulator.Options{Seed: 91, Faults: []emulator.Fault{f}})
				d, in := provisioneks.New(w.Open, nil), cloudtest.Input(t, post)
				if _, err := w.Apply(t.Context(), d, in); err != nil {
					t.Fatal(err)
				}
				w.NoDuplicates(t)
				if err := w.Down(t.Context(), d, in, false); err != nil {
					t.Fatal(err)
				}
				if left := w.Leftovers(nil); len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
			})
		})
	}
}

func TestRoleThatIsWrongIsToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 92, Faults: []emulator.Fault{{Service: "eks", Action: "CreateCluster", Kind: "access-denied"}}})
		d, in := provisioneks.New(w.Open, nil), cloudtest.Input(t, "{name: blog, network: {nat: none}}")
		if _, err := w.Apply(t.Context(), d, in); err == nil {
			t.Fatal("want the first run to end before the cluster")
		}
		time.Sleep(10 * time.Minute) // of virtual time: the role is no longer fresh, so the same words mean what they say
		w.AddFault(refuse("eks", "CreateCluster", "InvalidParameterException", refusedRole, -1))
		start := time.Now()
		_, err := w.Apply(t.Context(), d, in)
		e := steps.Classify(err)
		if err == nil || e.Code != "RoleRefused" || !strings.Contains(strings.Join(e.Hints, " "), "eks.amazonaws.com") {
			t.Errorf("got %v, hints %q", err, e.Hints)
		}
		if took := time.Since(start); took > time.Minute {
			t.Errorf("told only after %s", took)
		}
	})
}

func TestFreshRoleThatStaysRefusedIsToldAfterTwoMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 93, Faults: []emulator.Fault{refuse("eks", "CreateCluster", "InvalidParameterException", refusedRole, -1)}})
		start := time.Now()
		_, err := w.Apply(t.Context(), provisioneks.New(w.Open, nil), cloudtest.Input(t, post))
		if e := steps.Classify(err); err == nil || e.Code != "RoleRefused" {
			t.Errorf("got %v", err)
		}
		if took := time.Since(start); took < time.Minute || took > 5*time.Minute {
			t.Errorf("told after %s", took)
		}
	})
}

func TestLimitIsNamedAndNotTriedAgain(t *testing.T) {
	for name, c := range map[string]struct{ service, action, code, hint string }{
		"VPCs":              {"ec2", "CreateVpc", "VpcLimitExceeded", "VPCs per Region"},
		"addresses":         {"ec2", "AllocateAddress", "AddressLimitExceeded", "EC2-VPC Elastic IPs"},
		"NAT gateways":      {"ec2", "CreateNatGateway", "NatGatewayLimitExceeded", "NAT gateways per Availability Zone"},
		"internet gateways": {"ec2", "CreateInternetGateway", "InternetGatewayLimitExceeded", "Internet gateways per Region"},
		"clusters":          {"eks", "CreateCluster", "ResourceLimitExceededException", "EKS clusters"},
		"OIDC providers":    {"iam", "CreateOpenIDConnectProvider", "LimitExceeded", "OpenID Connect providers"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := cloudtest.New(t, emulator.Options{Seed: 94, Faults: []emulator.Fault{refuse(c.service, c.action, c.code, "the limit", -1)}})
				tries := 0
				for range 3 {
					w.OnCall(c.service, c.action, func() { tries++ })
				}
				_, err := w.Apply(t.Context(), provisioneks.New(w.Open, nil), cloudtest.Input(t, post))
				e := steps.Classify(err)
				if err == nil || e.Category != steps.Quota || !strings.Contains(strings.Join(e.Hints, " "), c.hint) {
					t.Errorf("got %v, hints %q, want %q", err, e.Hints, c.hint)
				}
				if tries != 1 {
					t.Errorf("tried %d times", tries)
				}
			})
		})
	}
}

func TestInUseMeansThreeThings(t *testing.T) {
	for name, c := range map[string]struct {
		faults []emulator.Fault
	}{
		"an update goes on when a change is due": {[]emulator.Fault{refuse("eks", "UpdateClusterConfig", "ResourceInUseException", "Cannot update because cluster blog currently has an update in progress", 3)}},
		"a node group is not active yet":         {[]emulator.Fault{refuse("eks", "UpdateNodegroupConfig", "ResourceInUseException", "Nodegroup cannot be updated as it is currently not in Active State", 3)}},
		"node groups are still attached":         {[]emulator.Fault{refuse("eks", "DeleteCluster", "ResourceInUseException", "Cluster has nodegroups attached", 3)}},
		"an update goes on when the cluster goes": {[]emulator.Fault{refuse("eks", "DeleteCluster", "ResourceInUseException", "Cannot delete because cluster blog currently has an update in progress", 3),
			refuse("eks", "DeleteNodegroup", "ResourceInUseException", "Nodegroup cannot be deleted as it is currently not in Active State", 2)}},
		"our own call was sent twice": {[]emulator.Fault{{Service: "eks", Action: "CreateCluster", Kind: "lost-response"}, {Service: "eks", Action: "CreateNodegroup", Kind: "lost-response"}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := cloudtest.New(t, emulator.Options{Seed: 95, Faults: c.faults})
				d := provisioneks.New(w.Open, nil)
				in := cloudtest.Input(t, post)
				if _, err := w.Apply(t.Context(), d, in); err != nil {
					t.Fatal(err)
				}
				changed := cloudtest.Input(t, strings.NewReplacer("endpoint: {public: true}", "logging: [audit]", "desired: 2, max: 3", "desired: 2, max: 5").Replace(post))
				if _, err := w.Apply(t.Context(), d, changed); err != nil {
					t.Fatal(err)
				}
				w.NoDuplicates(t)
				if err := w.Down(t.Context(), d, in, false); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

func TestNetworkPluginThatFailedIsNamedWhenNodesStayUnready(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 96})
		s := session(t, w)
		w.OnCall("eks", "CreateNodegroup", func() {
			go func() {
				time.Sleep(10 * time.Second)
				_, err := cloud.EKS(s).CreateAddon(t.Context(), &eks.CreateAddonInput{ClusterName: aws.String("blog"), AddonName: aws.String("vpc-cni")})
				if err != nil {
					t.Error(err)
				}
				time.Sleep(time.Minute) // until it is ACTIVE
				w.FailAddon("blog", "vpc-cni")
			}()
		})
		start := time.Now()
		_, err := w.Apply(t.Context(), provisioneks.New(w.Open, nil), cloudtest.Input(t, "{name: blog, nodeGroups: [{name: n, instanceTypes: [t3.medium]}]}"))
		if err == nil {
			t.Fatal("the nodes join")
		}
		e := steps.Classify(err)
		if e.Code != "NodesDoNotJoin" || !strings.Contains(e.Message, "the add-on vpc-cni is CREATE_FAILED") || !slices.ContainsFunc(e.Hints, func(h string) bool { return strings.Contains(h, "describe-addon") }) {
			t.Errorf("got %v, hints %q", err, e.Hints)
		}
		if took := time.Since(start); took > 16*time.Minute {
			t.Errorf("told only after %s", took)
		}
		if g := group(t, w, "n"); g.Status != ekstypes.NodegroupStatusCreating {
			t.Errorf("EKS itself says %s already", g.Status)
		}
	})
}
