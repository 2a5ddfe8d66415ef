package provisioneks

import (
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// Pods that every cluster of ours runs. On each node: network plugin, kube-proxy, EBS CSI node. Once: two of CoreDNS, two of the CSI controller.
const (
	podsOnEachNode = 3
	podsOnce       = 4
)

// podsOf is how many pods an instance runs with the AWS network plugin: each takes an address of a network interface, the first of which
// is the node's own; pods on the host network need none (2 are counted for them). 0: not known.
func podsOf(t ec2types.InstanceTypeInfo) int {
	n := t.NetworkInfo
	if n == nil {
		return 0
	}
	return int(aws.ToInt32(n.MaximumNetworkInterfaces)*(aws.ToInt32(n.Ipv4AddressesPerInterface)-1) + 2)
}

// checkPods holds the room that the node groups start with against the system's own pods and those that the spec expects.
func (s *state) checkPods(groups []NodeGroup, types map[string]ec2types.InstanceTypeInfo) []error {
	room, nodes, tightest := 0, 0, ""
	for _, g := range groups {
		if g.Desired == nil || len(g.InstanceTypes) == 0 {
			return nil
		}
		least := 0 // the spec's types may all be used, so the one with least room counts
		for _, name := range g.InstanceTypes {
			if n := podsOf(types[name]); n > 0 && (least == 0 || n < least) {
				least, tightest = n, name
			}
		}
		if least == 0 {
			return nil
		}
		room += least * int(*g.Desired)
		nodes += int(*g.Desired)
	}
	if nodes == 0 {
		return nil
	}
	system := podsOnEachNode*nodes + podsOnce
	free := room - system
	detail := fmt.Sprintf("room for %d on %d nodes, %d of them for the system's own", room, nodes, system)
	if s.spec.ExpectPods > 0 {
		detail += fmt.Sprintf(", %d expected", s.spec.ExpectPods)
	}
	ok := free >= int(s.spec.ExpectPods)
	s.env.Checked("pods", detail, ok)
	if ok {
		if few := 10; free < few && s.spec.ExpectPods == 0 {
			s.env.Note(fmt.Sprintf("the nodes have room for %d pods besides the system's own (a %s runs at most %d)", max(free, 0), tightest, podsOf(types[tightest])))
		}
		return nil
	}
	return []error{precondition("TooFewPods", "nodeGroups: "+detail, strings.Join([]string{
		fmt.Sprintf("use larger nodeGroups[].instanceTypes: a %s runs at most %d pods", tightest, podsOf(types[tightest])), "or raise nodeGroups[].desired",
	}, ", "))}
}
