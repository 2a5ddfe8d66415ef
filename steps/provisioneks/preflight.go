package provisioneks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/owned"
	"pipectl.dev/steps"
)

const arm = "arm64"

// lastAL2 is the last minor version that Amazon Linux 2 nodes can have.
const lastAL2 = 32

// Preflight finds in seconds what EKS says after minutes, and says all of it at once. Where the cluster and all its node groups are
// there it asks nothing more.
func (p *step) Preflight(ctx context.Context, env steps.Env, sp Spec) error {
	if sp.Existing || env.Unknown("name") || env.Unknown("region") {
		return nil
	}
	session, err := p.open(ctx, sp.Region)
	if err != nil {
		return err
	}
	s := &state{aws: session, env: env, spec: sp, owner: env.Identity.String()}
	if s.caller, err = session.Identify(ctx); err != nil {
		return err
	}
	s.look = s.newLooks()
	if !env.Unknown("network.vpcId") {
		if err := s.findNetwork(ctx); err != nil {
			return cloud.Explain(err)
		}
	}
	c, err := s.look.cluster.Get(ctx, "preflight")
	if err != nil {
		return cloud.Explain(err)
	}
	if c != nil && !cloud.Ours(c.Tags, s.owner, kindCluster, sp.Name) {
		return &steps.Error{Code: "NotOurs", Category: steps.Conflict, Message: "cluster " + sp.Name + " exists and does not carry our owner tag",
			Hints: []string{"choose another `name`, or say `existing: true` to use it as it is"}}
	}
	return cloud.Explain(s.check(ctx, c))
}

// check runs all checks side by side and joins what they find, in a fixed order.
func (s *state) check(ctx context.Context, c *ekstypes.Cluster) error {
	missing, err := s.missingGroups(ctx, c)
	if err != nil {
		return err
	}
	if c != nil {
		changes, err := s.checkChanges(ctx, c)
		if err != nil || len(missing) == 0 || len(changes) > 0 {
			return errors.Join(append(changes, err)...)
		}
	}
	version, unsupported, err := s.checkVersion(ctx, c)
	if err != nil && !cloud.IsDenied(err) {
		return err
	}
	checks := []func(context.Context) ([]error, error){
		func(ctx context.Context) ([]error, error) { return s.checkGroups(ctx, missing, version) },
		func(ctx context.Context) ([]error, error) { return s.checkOwnImages(ctx, missing) },
		s.checkPermissions, s.checkLifetime,
	}
	if c == nil {
		checks = append(checks, s.checkNetworkZones, s.checkQuotas, s.checkReach, s.checkKey, s.checkHome)
	}
	found, failed := make([][]error, len(checks)), make([]error, len(checks))
	var wg sync.WaitGroup
	for i, check := range checks {
		wg.Go(func() { found[i], failed[i] = check(ctx) })
	}
	wg.Wait()
	problems := unsupported
	for i := range checks {
		if failed[i] != nil && !cloud.IsDenied(failed[i]) {
			return failed[i]
		}
		problems = append(problems, found[i]...)
	}
	return errors.Join(problems...)
}

// checkChanges holds what a cluster that is there is to become against what EKS allows. Where nothing changes it asks nothing.
func (s *state) checkChanges(ctx context.Context, c *ekstypes.Cluster) ([]error, error) {
	problems, err := s.checkUpgrade(ctx, c)
	if err != nil && !cloud.IsDenied(err) {
		return nil, err
	}
	homes, err := s.checkHomes(ctx)
	if err != nil && !cloud.IsDenied(err) {
		return nil, err
	}
	problems = append(problems, homes...)
	for field, check := range map[string]func(context.Context) ([]error, error){"endpoint.publicCIDRs": s.checkReach, "kmsKeyArn": s.checkKey} {
		if !owned.Of(s.clusterDrift(c), field) {
			continue
		}
		found, err := check(ctx)
		if err != nil && !cloud.IsDenied(err) {
			return nil, err
		}
		problems = append(problems, found...)
	}
	return problems, nil
}

func (s *state) checkPermissions(ctx context.Context) ([]error, error) {
	needed := actions
	linked, err := s.missingLinked(ctx)
	if err != nil {
		return nil, err
	}
	if linked != "" {
		needed = append(slices.Clone(actions), makesLinked)
	}
	found, err := s.aws.Allowed(ctx, s.env, needed, func(action string) string {
		if action == makesLinked {
			return linked
		}
		return ""
	})
	if found == nil || err != nil {
		return nil, err
	}
	return []error{found}, nil
}

// checkNetworkZones holds the zones that the spec names against those that can host a control plane.
func (s *state) checkNetworkZones(ctx context.Context) ([]error, error) {
	if len(s.spec.Network.Zones) == 0 || s.env.Unknown("network.zones") {
		return nil, nil
	}
	usable, err := s.usableZones(ctx)
	if err != nil {
		return nil, err
	}
	var out []error
	for i, z := range s.spec.Network.Zones {
		ok := slices.Contains(usable, z)
		s.env.Checked("zone "+z, map[bool]string{true: "can host a control plane", false: "is no zone of EKS in this region"}[ok], ok)
		if !ok {
			out = append(out, precondition("UnsupportedZone", fmt.Sprintf("network.zones[%d]: EKS makes no control plane in %s", i, z), "use some of "+strings.Join(usable, ", ")))
		}
	}
	return out, nil
}

func (s *state) missingGroups(ctx context.Context, c *ekstypes.Cluster) ([]NodeGroup, error) {
	if c == nil {
		return s.spec.NodeGroups, nil
	}
	have, err := s.groupNames(ctx)
	return slices.DeleteFunc(slices.Clone(s.spec.NodeGroups), func(g NodeGroup) bool { return slices.Contains(have, g.Name) }), err
}

// checkGroups holds the node groups that are to be made against what EC2 has and what EKS allows.
func (s *state) checkGroups(ctx context.Context, groups []NodeGroup, version string) ([]error, error) {
	if len(groups) == 0 || s.env.Unknown("nodeGroups[0].instanceTypes") {
		return nil, nil
	}
	types, err := s.look.types.Get(ctx, "preflight")
	if err != nil {
		return nil, err
	}
	offered, err := s.offerings(ctx)
	if err != nil {
		return nil, err
	}
	var out []error
	for _, g := range groups {
		i := slices.IndexFunc(s.spec.NodeGroups, func(x NodeGroup) bool { return x.Name == g.Name })
		at := fmt.Sprintf("nodeGroups[%d]", i)
		bad := append(checkTypes(at, g, types), checkZones(at, g, offered)...)
		if strings.HasPrefix(g.AMIType, "AL2_") && minor(version) > lastAL2 {
			bad = append(bad, precondition("AMITypeTooOld", fmt.Sprintf("%s.amiType: %s ended with Kubernetes 1.32, the cluster is %s", at, g.AMIType, version), "use "+strings.Replace(successor(g.AMIType), "AL2_", "AL2023_", 1)))
		}
		s.env.Checked("node group "+g.Name, groupText(g, types, offered), len(bad) == 0)
		out = append(out, bad...)
	}
	if len(groups) == len(s.spec.NodeGroups) { // else nodes that are there have room too
		out = append(out, s.checkPods(groups, types)...)
	}
	return out, nil
}

func groupText(g NodeGroup, types map[string]ec2types.InstanceTypeInfo, offered map[string][]string) string {
	var zones []string
	for z, have := range offered {
		if offersAny(have, g.InstanceTypes) && (len(g.Zones) == 0 || slices.Contains(g.Zones, z)) {
			zones = append(zones, z)
		}
	}
	slices.Sort(zones)
	arch := "unknown architecture"
	if len(g.InstanceTypes) > 0 {
		if a := architecture(types[g.InstanceTypes[0]]); a != "" {
			arch = a
		}
	}
	return fmt.Sprintf("%s (%s), offered in %s", strings.Join(g.InstanceTypes, ", "), arch, cmp.Or(strings.Join(zones, ", "), "none of its zones"))
}

func successor(old string) string {
	switch old {
	case "AL2_ARM_64":
		return "AL2023_ARM_64_STANDARD"
	case "AL2_x86_64_GPU":
		return "AL2023_x86_64_NVIDIA"
	default:
		return "AL2023_x86_64_STANDARD"
	}
}

func architecture(t ec2types.InstanceTypeInfo) string {
	if t.ProcessorInfo != nil {
		for _, a := range t.ProcessorInfo.SupportedArchitectures {
			if a == ec2types.ArchitectureTypeArm64 || a == ec2types.ArchitectureTypeX8664 {
				return string(a)
			}
		}
	}
	return ""
}

func checkTypes(at string, g NodeGroup, types map[string]ec2types.InstanceTypeInfo) []error {
	var out []error
	arch := ""
	switch {
	case strings.Contains(strings.ToUpper(g.AMIType), "ARM_64"):
		arch = arm
	case g.AMIType != "" && g.AMIType != "CUSTOM":
		arch = "x86_64"
	}
	wanted := "amiType " + g.AMIType
	for i, name := range g.InstanceTypes {
		t, ok := types[name]
		if !ok {
			out = append(out, precondition("NoSuchInstanceType", fmt.Sprintf("%s.instanceTypes[%d]: EC2 has no %s here", at, i, name), ""))
			continue
		}
		if arch == "" {
			arch, wanted = architecture(t), name
		}
		if have := architecture(t); have != arch {
			out = append(out, precondition("ArchitectureMismatch", fmt.Sprintf("%s.instanceTypes[%d]: %s is %s, but %s is %s", at, i, name, have, wanted, arch),
				"leave amiType out to have it follow the instance types, and give a node group instance types of one architecture"))
		}
	}
	return out
}

func checkZones(at string, g NodeGroup, offered map[string][]string) []error {
	var out []error
	for i, z := range g.Zones {
		if z != "" && !offersAny(offered[z], g.InstanceTypes) {
			out = append(out, precondition("NotOffered", fmt.Sprintf("%s.zones[%d]: %s has none of %s", at, i, z, strings.Join(g.InstanceTypes, ", ")),
				"choose other instanceTypes; "+z+" is where the node group is pinned to"))
		}
	}
	return out
}
