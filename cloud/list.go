package cloud

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// Paged gathers all pages of a list. The SDK's paginators are not used: they put the client into an interface, and then the linker keeps
// all of it.
func Paged[T any](ctx context.Context, page func(context.Context, *string) ([]T, *string, error)) ([]T, error) {
	var all []T
	var token *string
	for {
		some, next, err := page(ctx, token)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
		if token = next; aws.ToString(token) == "" {
			return all, nil
		}
	}
}

// Volumes are the region's volumes that pass all filters, those that are being deleted among them.
func (s *Session) Volumes(ctx context.Context, filters ...ec2types.Filter) ([]ec2types.Volume, error) {
	return Paged(ctx, func(ctx context.Context, token *string) ([]ec2types.Volume, *string, error) {
		o, err := EC2(s).DescribeVolumes(ctx, &ec2.DescribeVolumesInput{NextToken: token, Filters: filters})
		if err != nil {
			return nil, nil, err
		}
		return o.Volumes, o.NextToken, nil
	})
}

// Snapshots are the account's own snapshots that pass all filters.
func (s *Session) Snapshots(ctx context.Context, filters ...ec2types.Filter) ([]ec2types.Snapshot, error) {
	return Paged(ctx, func(ctx context.Context, token *string) ([]ec2types.Snapshot, *string, error) {
		o, err := EC2(s).DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{NextToken: token, OwnerIds: []string{"self"}, Filters: filters})
		if err != nil {
			return nil, nil, err
		}
		return o.Snapshots, o.NextToken, nil
	})
}

// Instances are the instances that pass all filters, out of their reservations.
func (s *Session) Instances(ctx context.Context, filters ...ec2types.Filter) ([]ec2types.Instance, error) {
	return Paged(ctx, func(ctx context.Context, token *string) ([]ec2types.Instance, *string, error) {
		o, err := EC2(s).DescribeInstances(ctx, &ec2.DescribeInstancesInput{NextToken: token, Filters: filters})
		if err != nil {
			return nil, nil, err
		}
		var some []ec2types.Instance
		for _, r := range o.Reservations {
			some = append(some, r.Instances...)
		}
		return some, o.NextToken, nil
	})
}

// roles are all of the account's.
func (s *Session) roles(ctx context.Context) ([]iamtypes.Role, error) {
	return Paged(ctx, func(ctx context.Context, marker *string) ([]iamtypes.Role, *string, error) {
		o, err := IAM(s).ListRoles(ctx, &iam.ListRolesInput{Marker: marker, MaxItems: aws.Int32(1000)})
		if err != nil {
			return nil, nil, err
		}
		return o.Roles, o.Marker, nil
	})
}
