package cloud

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
)

// LogGroup is a CloudWatch log group.
type LogGroup struct {
	Name      string
	ARN       string
	Retention int32 // days; 0: for ever
	Bytes     int64 // stored
	Tags      map[string]string
}

// LogGroup looks a log group up by its exact name; nil where there is none.
func (s *Session) LogGroup(ctx context.Context, name string) (*LogGroup, error) {
	o, err := Logs(s).DescribeLogGroups(ctx, &cloudwatchlogs.DescribeLogGroupsInput{LogGroupNamePrefix: &name})
	if err != nil {
		return nil, err
	}
	for _, g := range o.LogGroups {
		if aws.ToString(g.LogGroupName) == name {
			t, err := Logs(s).ListTagsForResource(ctx, &cloudwatchlogs.ListTagsForResourceInput{ResourceArn: g.LogGroupArn})
			if IsNotFound(err) {
				return nil, nil
			}
			if err != nil {
				return nil, err
			}
			return &LogGroup{Name: name, ARN: aws.ToString(g.LogGroupArn), Retention: aws.ToInt32(g.RetentionInDays), Bytes: aws.ToInt64(g.StoredBytes), Tags: t.Tags}, nil
		}
	}
	return nil, nil
}

// CreateLogGroup makes one; one that is there already is as good.
func (s *Session) CreateLogGroup(ctx context.Context, name string, tags map[string]string) error {
	_, err := Logs(s).CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: &name, Tags: tags})
	if Code(err) == "ResourceAlreadyExistsException" {
		return nil
	}
	return err
}

// RetainLogs sets how many days a group keeps what it is given.
func (s *Session) RetainLogs(ctx context.Context, name string, days int32) error {
	_, err := Logs(s).PutRetentionPolicy(ctx, &cloudwatchlogs.PutRetentionPolicyInput{LogGroupName: &name, RetentionInDays: &days})
	return err
}

// DeleteLogGroup removes a group with all that it kept.
func (s *Session) DeleteLogGroup(ctx context.Context, name string) error {
	_, err := Logs(s).DeleteLogGroup(ctx, &cloudwatchlogs.DeleteLogGroupInput{LogGroupName: &name})
	return err
}
