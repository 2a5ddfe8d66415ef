package provisioneks

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"pipectl.dev/cloud"
	"pipectl.dev/steps"
	"pipectl.dev/steps/reconcile"
)

// What the critical path waits for besides a resource's own Expect.
const (
	roleSpreads = 10 * time.Second // IAM, until EKS can assume a role
	updateTime  = 90 * time.Second
	moment      = 5 * time.Second   // of a change that waits for nothing
	wholeTime   = 640 * time.Second // from nothing: role and subnets, control plane, nodes
)

func (s *state) forecast(ctx context.Context, changes []steps.Change) (steps.Forecast, error) {
	f := steps.Forecast{Seconds: s.seconds(changes)}
	version, extended, err := s.versionNotes(ctx, &f)
	if err != nil {
		return f, err
	}
	f.Cost = s.cost(version, extended)
	return f, nil
}

// seconds is the time along the critical path of what changes.
func (s *state) seconds(changes []steps.Change) float64 {
	if keepsAll(changes) {
		return 0
	}
	usual := func(r resource, v steps.Verb) time.Duration {
		slow := r.Kind == kindCluster || r.Kind == kindGroup
		switch {
		case v == reconcile.Update && slow:
			return updateTime
		case v == reconcile.Update:
			return 0
		case r.Kind == kindRolePolicy:
			return roleSpreads
		default:
			return r.Expect
		}
	}
	return max(reconcile.Expected(s.resources(), changes, usual), moment).Seconds()
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
			f.Notes = append(f.Notes, fmt.Sprintf("Kubernetes %s is in extended support since %s: the control plane costs %s, until it ends %s and EKS upgrades the cluster by itself", version,
				day(v.EndOfStandardSupportDate), s.surcharge(), day(v.EndOfExtendedSupportDate)))
		case v.EndOfStandardSupportDate != nil && time.Until(*v.EndOfStandardSupportDate) < 90*24*time.Hour:
			f.Notes = append(f.Notes, fmt.Sprintf("standard support of Kubernetes %s ends %s; then the control plane costs %s, until %s", version,
				day(v.EndOfStandardSupportDate), s.surcharge(), day(v.EndOfExtendedSupportDate)))
		}
	}
	if s.cluster != nil && newest != version {
		f.Notes = append(f.Notes, fmt.Sprintf("Kubernetes %s is out, the cluster runs %s; nothing is upgraded unless `version` says so", newest, version))
	}
	return version, extended, nil
}

// surcharge compares the prices of a control plane in extended and in standard support.
func (s *state) surcharge() string {
	more, known := s.aws.Prices.Hourly(s.aws.Region, "eks:extended")
	less, both := s.aws.Prices.Hourly(s.aws.Region, "eks:standard")
	if !known || !both {
		return "more"
	}
	return fmt.Sprintf("%.2f instead of %.2f USD an hour (%.0f USD more a month)", more, less, (more-less)*steps.HoursPerMonth)
}

// versions are the Kubernetes versions that EKS makes clusters of.
func (s *state) versions(ctx context.Context) ([]ekstypes.ClusterVersionInformation, error) {
	return cloud.Paged(ctx, func(ctx context.Context, t *string) ([]ekstypes.ClusterVersionInformation, *string, error) {
		o, err := cloud.EKS(s.aws).DescribeClusterVersions(ctx, &eks.DescribeClusterVersionsInput{NextToken: t})
		return field(o, err, func() ([]ekstypes.ClusterVersionInformation, *string) { return o.ClusterVersions, o.NextToken })
	})
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

func (s *state) cost(version string, extended bool) *steps.Cost {
	b := s.aws.Prices.Bill(s.aws.Region)
	plane := "eks:standard"
	if extended {
		plane = "eks:extended"
	}
	b.Add("control plane "+version, plane, 1, false)
	for _, g := range s.spec.NodeGroups {
		n := float64(*g.Desired)
		what, item := g.InstanceTypes[0], g.InstanceTypes[0]
		if g.CapacityType != "ON_DEMAND" {
			what, item = "spot "+what, "spot:"+item
		}
		b.Add(fmt.Sprintf("%s: %v x %s", g.Name, n, what), item, n, false)
		b.Add(fmt.Sprintf("%s: %v x %d GiB gp3", g.Name, n, g.DiskSize), "gp3:gb-month", n*float64(g.DiskSize), false)
	}
	nats := float64(len(s.lay.nats))
	if nats == 1 && s.lay.nats[0].regional {
		b.Add("regional NAT gateway, by the zone", "nat:regional", 1, false)
		return b.Cost(cloud.PaidByUse...)
	}
	b.Add(fmt.Sprintf("%v NAT gateway", nats), "nat", nats, false)
	b.Add(fmt.Sprintf("%v public IPv4 address", nats), "ipv4", nats, false)
	return b.Cost(cloud.PaidByUse...)
}
