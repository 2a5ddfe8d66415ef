package provisioneks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"pipectl.dev/cloud"
	"pipectl.dev/steps"
)

const arm = "arm64"

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

func (s *state) check(ctx context.Context, c *ekstypes.Cluster) error {
	missing, err := s.missingGroups(ctx, c)
	if err != nil || c != nil && len(missing) == 0 {
		return err
	}
	var checks []func(context.Context) ([]error, error)
	version := s.spec.Version
	if c == nil {
		checks = append(checks, s.checkQuotas, s.checkLifetime)
		all, err := s.versions(ctx)
		if err != nil {
			return err
		}
		if version == "" {
			version = defaultVersion(all)
		} else if err := knownVersion(version, all); err != nil {
			checks = append(checks, func(context.Context) ([]error, error) { return []error{err}, nil })
		}
	} else {
		version = aws.ToString(c.Version)
	}
	checks = append(checks, func(ctx context.Context) ([]error, error) { return s.checkGroups(ctx, missing, version) })
	var problems []error
	for _, check := range checks {
		found, err := check(ctx)
		if err != nil && !cloud.IsDenied(err) {
			return err
		}
		problems = append(problems, found...)
	}
	return errors.Join(problems...)
}

func (s *state) missingGroups(ctx context.Context, c *ekstypes.Cluster) ([]NodeGroup, error) {
	if c == nil {
		return s.spec.NodeGroups, nil
	}
	have, err := s.groupNames(ctx)
	return slices.DeleteFunc(slices.Clone(s.spec.NodeGroups), func(g NodeGroup) bool { return slices.Contains(have, g.Name) }), err
}

func knownVersion(version string, all []ekstypes.ClusterVersionInformation) error {
	var names []string
	for _, v := range all {
		if aws.ToString(v.ClusterVersion) == version {
			return nil
		}
		names = append(names, fmt.Sprintf("%s (standard support until %s)", aws.ToString(v.ClusterVersion), day(v.EndOfStandardSupportDate)))
	}
	return precondition("UnsupportedVersion", "version: EKS makes no clusters of Kubernetes "+version,
		"use one of "+strings.Join(names, ", ")+", or leave `version` out to take EKS's default, "+defaultVersion(all))
}

func day(t *time.Time) string {
	if t == nil {
		return "an unknown date"
	}
	return t.UTC().Format(time.DateOnly)
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
		out = append(out, checkTypes(at, g, types)...)
		out = append(out, checkZones(at, g, offered)...)
		if strings.HasPrefix(g.AMIType, "AL2_") && minor(version) > 32 {
			out = append(out, precondition("AMITypeTooOld", fmt.Sprintf("%s.amiType: %s ended with Kubernetes 1.32, the cluster is %s", at, g.AMIType, version), "use "+strings.Replace(successor(g.AMIType), "AL2_", "AL2023_", 1)))
		}
		s.podsNote(g, types)
	}
	return out, nil
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

// podsNote warns of instances so small that the system's own pods fill them.
func (s *state) podsNote(g NodeGroup, types map[string]ec2types.InstanceTypeInfo) {
	const few = 17
	for _, name := range g.InstanceTypes {
		n := types[name].NetworkInfo
		if n == nil {
			continue
		}
		pods := aws.ToInt32(n.MaximumNetworkInterfaces)*(aws.ToInt32(n.Ipv4AddressesPerInterface)-1) + 2
		if pods > 0 && pods < few {
			s.env.Note(fmt.Sprintf("node group %s: a %s runs at most %d pods, of which about 4 are the system's own", g.Name, name, pods))
		}
	}
}

// checkLifetime warns when the credentials may end before the cluster is there.
func (s *state) checkLifetime(ctx context.Context) ([]error, error) {
	at, ok, err := s.aws.CredentialsExpire(ctx)
	if err != nil || !ok {
		return nil, err
	}
	need := time.Duration((beforeCluster+clusterTime+groupTime)/s.aws.Speed) * time.Second
	if left := time.Until(at); left < need {
		s.env.Note(fmt.Sprintf("the credentials end in %s unless they renew themselves, this takes about %s; if they end, run the same command again with new ones", left.Round(time.Second), need))
	}
	return nil, nil
}
