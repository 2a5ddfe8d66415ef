package provisioneks

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"pipectl.dev/cloud"
	"pipectl.dev/steps"
	"pipectl.dev/steps/reconcile"
)

// Usual seconds on the critical path.
const (
	beforeCluster = 12 // role, VPC and subnets, and IAM's spreading of the role
	clusterTime   = 510
	groupTime     = 115
	updateTime    = 90
)

func (s *state) forecast(ctx context.Context, changes []steps.Change) (steps.Forecast, error) {
	f := steps.Forecast{Seconds: seconds(changes)}
	version, extended, err := s.versionNotes(ctx, &f)
	if err != nil {
		return f, err
	}
	f.Cost, err = s.cost(version, extended)
	return f, err
}

func seconds(changes []steps.Change) float64 {
	total := 0.0
	does := func(kind string, v steps.Verb) bool {
		return slices.ContainsFunc(changes, func(c steps.Change) bool { return c.Kind == kind && c.Action == v })
	}
	if does(kindCluster, reconcile.Create) {
		total += beforeCluster + clusterTime
	}
	if does(kindCluster, reconcile.Update) {
		total += updateTime
	}
	switch {
	case does(kindGroup, reconcile.Create):
		total += groupTime
	case does(kindGroup, reconcile.Update):
		total += updateTime
	}
	if total == 0 && !keepsAll(changes) {
		total = 5
	}
	return total
}

// versionNotes says what version the cluster has or will have, and what its reader should know about it.
func (s *state) versionNotes(ctx context.Context, f *steps.Forecast) (version string, extended bool, err error) {
	all, err := s.versions(ctx)
	if cloud.IsDenied(err) {
		return s.spec.Version, false, nil
	}
	if err != nil {
		return "", false, cloud.Explain(err)
	}
	version = s.spec.Version
	if version == "" {
		version = defaultVersion(all)
	}
	if s.cluster != nil {
		version = aws.ToString(s.cluster.Version)
	}
	newest := version
	for _, v := range all {
		name := aws.ToString(v.ClusterVersion)
		if minor(name) > minor(newest) {
			newest = name
		}
		if name != version {
			continue
		}
		extended = v.VersionStatus == ekstypes.VersionStatusExtendedSupport
		switch {
		case extended:
			f.Notes = append(f.Notes, fmt.Sprintf("Kubernetes %s is in extended support: the control plane costs 0.60 instead of 0.10 USD an hour, until %s", version, day(v.EndOfExtendedSupportDate)))
		case v.EndOfStandardSupportDate != nil && time.Until(*v.EndOfStandardSupportDate) < 90*24*time.Hour:
			f.Notes = append(f.Notes, fmt.Sprintf("standard support of Kubernetes %s ends %s; then the control plane costs 0.60 instead of 0.10 USD an hour", version, day(v.EndOfStandardSupportDate)))
		}
	}
	if s.cluster != nil && newest != version {
		f.Notes = append(f.Notes, fmt.Sprintf("Kubernetes %s is out, the cluster runs %s; nothing is upgraded unless `version` says so", newest, version))
	}
	return version, extended, nil
}

// versions are the Kubernetes versions that EKS makes clusters of.
func (s *state) versions(ctx context.Context) ([]ekstypes.ClusterVersionInformation, error) {
	var all []ekstypes.ClusterVersionInformation
	in := &eks.DescribeClusterVersionsInput{}
	for {
		o, err := s.aws.EKS.DescribeClusterVersions(ctx, in)
		if err != nil {
			return nil, err
		}
		all = append(all, o.ClusterVersions...)
		if in.NextToken = o.NextToken; aws.ToString(in.NextToken) == "" {
			return all, nil
		}
	}
}

func defaultVersion(all []ekstypes.ClusterVersionInformation) string {
	for _, v := range all {
		if v.DefaultVersion {
			return aws.ToString(v.ClusterVersion)
		}
	}
	return ""
}

// newVersion is the version of a cluster that is about to be made.
func (s *state) newVersion(ctx context.Context) (string, error) {
	if s.spec.Version != "" {
		return s.spec.Version, nil
	}
	all, err := s.versions(ctx)
	if err != nil {
		return "", err
	}
	if v := defaultVersion(all); v != "" {
		return v, nil
	}
	return "", precondition("NoDefaultVersion", "EKS names no default Kubernetes version", "set `version`")
}

func (s *state) cost(version string, extended bool) (*steps.Cost, error) {
	prices, err := cloud.Prices()
	if err != nil {
		return nil, err
	}
	b := prices.Bill(s.aws.Region)
	plane := "eks:standard"
	if extended {
		plane = "eks:extended"
	}
	b.Add("control plane "+version, plane, 1, false)
	for _, g := range s.spec.NodeGroups {
		n := float64(*g.Desired)
		if len(g.InstanceTypes) > 0 && g.CapacityType == "ON_DEMAND" {
			b.Add(fmt.Sprintf("%s: %v x %s", g.Name, n, g.InstanceTypes[0]), g.InstanceTypes[0], n, false)
		} else {
			b.Add(fmt.Sprintf("%s: %v spot instances", g.Name, n), "spot", n, false)
		}
		b.Add(fmt.Sprintf("%s: %v x %d GiB gp3", g.Name, n, g.DiskSize), "gp3:gb-month", n*float64(g.DiskSize), false)
	}
	nats := float64(len(s.lay.nats))
	b.Add(fmt.Sprintf("%v NAT gateway", nats), "nat", nats, false)
	b.Add(fmt.Sprintf("%v public IPv4 address", nats), "ipv4", nats, false)
	return b.Cost("traffic", "load balancers", "CloudWatch logs"), nil
}
