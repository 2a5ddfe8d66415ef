package cloud

import (
	"cmp"
	"context"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
)

// Holding is a thing with an owner tag of ours that costs by the hour.
type Holding struct {
	Region, Kind, Name, ID string
	Owner                  string // identity, as in the tag
	Since                  time.Time
	Item                   string  // of the price table
	Count                  float64 // of that item
	Data                   bool    // holds data: `down` keeps it
}

// Inventory lists what costs money and carries the owner tag of identity, whatever pipeline file it came from: clusters, instances, NAT
// gateways, addresses, volumes and snapshots.
func (s *Session) Inventory(ctx context.Context, identity string) ([]Holding, error) {
	return s.inventory(ctx, identity, s.clusterLook())
}

func (s *Session) inventory(ctx context.Context, identity string, clusters *Look[[]string]) ([]Holding, error) {
	heldClusters := func(ctx context.Context, identity string) ([]Holding, error) {
		names, err := clusters.Get(ctx, "inventory")
		if err != nil {
			return nil, err
		}
		return s.heldClusters(ctx, names, identity)
	}
	all, err := beside(ctx, identity, heldClusters, s.heldInstances, s.heldNATs, s.heldAddresses, s.heldVolumes, s.heldSnapshots)
	if err != nil {
		return nil, err
	}
	for i := range all {
		all[i].Region = s.Region
	}
	sort.Slice(all, func(i, j int) bool {
		a, b := &all[i], &all[j]
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) < 0
	})
	return all, nil
}

// look lists some of what identity holds.
type look = func(ctx context.Context, identity string) ([]Holding, error)

// beside takes all looks at once and gives what they find in their order.
func beside(ctx context.Context, identity string, looks ...look) ([]Holding, error) {
	found, failed := make([][]Holding, len(looks)), make([]error, len(looks))
	var wg sync.WaitGroup
	for i, l := range looks {
		wg.Go(func() { found[i], failed[i] = l(ctx, identity) })
	}
	wg.Wait()
	for _, err := range failed {
		if err != nil {
			return nil, Explain(err)
		}
	}
	return slices.Concat(found...), nil
}

// held makes a Holding of what carries tags of ours.
func held(tags []ec2types.Tag, id string, since *time.Time, item string, count float64) Holding {
	m := EC2TagMap(tags)
	return Holding{Kind: m[TagKind], Name: m[TagName], Owner: m[TagIdentity], ID: id, Since: aws.ToTime(since), Item: item, Count: count}
}

// clusterLook is for the names of all clusters of the region.
func (s *Session) clusterLook() *Look[[]string] {
	return &Look[[]string]{Fetch: func(ctx context.Context) ([]string, error) {
		return Paged(ctx, func(ctx context.Context, token *string) ([]string, *string, error) {
			o, err := EKS(s).ListClusters(ctx, &eks.ListClustersInput{NextToken: token})
			if err != nil {
				return nil, nil, err
			}
			return o.Clusters, o.NextToken, nil
		})
	}}
}

func (s *Session) heldClusters(ctx context.Context, names []string, identity string) ([]Holding, error) {
	var out []Holding
	for _, name := range names {
		o, err := EKS(s).DescribeCluster(ctx, &eks.DescribeClusterInput{Name: &name})
		if IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if t := o.Cluster.Tags; t[TagIdentity] == identity {
			out = append(out, Holding{Kind: t[TagKind], Name: t[TagName], Owner: identity, ID: name, Since: aws.ToTime(o.Cluster.CreatedAt), Item: s.planeItem(ctx, aws.ToString(o.Cluster.Version)), Count: 1})
		}
	}
	return out, nil
}

// planeItem is the price item of a control plane: a version in extended support costs more. Where EKS does not tell, the price is not known.
func (s *Session) planeItem(ctx context.Context, version string) string {
	o, err := EKS(s).DescribeClusterVersions(ctx, &eks.DescribeClusterVersionsInput{ClusterVersions: []string{version}})
	switch {
	case err != nil || len(o.ClusterVersions) == 0:
		return "eks:unknown"
	case o.ClusterVersions[0].VersionStatus == ekstypes.VersionStatusExtendedSupport:
		return "eks:extended"
	default:
		return "eks:standard"
	}
}

func (s *Session) heldInstances(ctx context.Context, identity string) ([]Holding, error) {
	all, err := s.Instances(ctx, append(OwnedBy(identity), Filter("instance-state-name", "pending", "running", "stopping", "stopped"))...)
	var out []Holding
	for _, i := range all {
		item := string(i.InstanceType)
		if i.InstanceLifecycle == ec2types.InstanceLifecycleTypeSpot {
			item = "spot:" + item
		}
		out = append(out, held(i.Tags, aws.ToString(i.InstanceId), i.LaunchTime, item, 1))
	}
	return out, err
}

func (s *Session) heldNATs(ctx context.Context, identity string) ([]Holding, error) {
	all, err := Paged(ctx, func(ctx context.Context, token *string) ([]ec2types.NatGateway, *string, error) {
		o, err := EC2(s).DescribeNatGateways(ctx, &ec2.DescribeNatGatewaysInput{NextToken: token, Filter: append(OwnedBy(identity), Filter("state", "pending", "available", "deleting"))})
		if err != nil {
			return nil, nil, err
		}
		return o.NatGateways, o.NextToken, nil
	})
	var out []Holding
	for _, n := range all {
		item := "nat"
		if n.AvailabilityMode == ec2types.AvailabilityModeRegional {
			item = "nat:regional"
		}
		out = append(out, held(n.Tags, aws.ToString(n.NatGatewayId), n.CreateTime, item, 1))
	}
	return out, err
}

func (s *Session) heldAddresses(ctx context.Context, identity string) ([]Holding, error) {
	o, err := EC2(s).DescribeAddresses(ctx, &ec2.DescribeAddressesInput{Filters: OwnedBy(identity)})
	if err != nil {
		return nil, err
	}
	var out []Holding
	for _, a := range o.Addresses {
		out = append(out, held(a.Tags, aws.ToString(a.AllocationId), nil, "ipv4", 1))
	}
	return out, nil
}

// heldVolumes tells data from nodes' disks by the kind in the tag.
func (s *Session) heldVolumes(ctx context.Context, identity string) ([]Holding, error) {
	all, err := s.Volumes(ctx, OwnedBy(identity)...)
	var out []Holding
	for _, v := range all {
		h := held(v.Tags, aws.ToString(v.VolumeId), v.CreateTime, string(v.VolumeType)+":gb-month", float64(aws.ToInt32(v.Size)))
		h.Data = !slices.ContainsFunc(v.Attachments, func(a ec2types.VolumeAttachment) bool { return aws.ToBool(a.DeleteOnTermination) })
		out = append(out, h)
	}
	return out, err
}

func (s *Session) heldSnapshots(ctx context.Context, identity string) ([]Holding, error) {
	all, err := s.Snapshots(ctx, OwnedBy(identity)...)
	var out []Holding
	for _, x := range all {
		h := held(x.Tags, aws.ToString(x.SnapshotId), x.StartTime, "snapshot:gb-month", float64(aws.ToInt32(x.VolumeSize)))
		h.Data = true
		out = append(out, h)
	}
	return out, err
}

// Regions are those that the account may use.
func (s *Session) Regions(ctx context.Context) ([]string, error) {
	o, err := EC2(s).DescribeRegions(ctx, &ec2.DescribeRegionsInput{})
	if err != nil {
		return nil, Explain(err)
	}
	var out []string
	for _, r := range o.Regions {
		out = append(out, aws.ToString(r.RegionName))
	}
	slices.Sort(out)
	return out, nil
}

// IdentityIn is identity in another region: owner tags hold the region.
func IdentityIn(identity, from, to string) string {
	return strings.Replace(identity, "/"+from+"/", "/"+to+"/", 1)
}
