package provisioneks

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"pipectl.dev/cloud"
	"pipectl.dev/steps"
	"pipectl.dev/steps/wait"
)

// updated waits for an update of the cluster, or of one of its node groups, to end.
func (s *state) updated(ctx context.Context, group string, u *ekstypes.Update) error {
	if u == nil {
		return nil
	}
	in := &eks.DescribeUpdateInput{Name: &s.spec.Name, UpdateId: u.Id}
	if group != "" {
		in.NodegroupName = &group
	}
	what := string(u.Type)
	report := func(p wait.Progress) { s.env.Waiting(what+" "+p.Detail, p.Elapsed, p.Expect) }
	o := wait.Options{Expect: 90 * time.Second, Timeout: time.Hour, Speed: s.aws.Speed, Report: report}
	return wait.Until(ctx, o, func(ctx context.Context) (bool, string, error) {
		got, err := s.aws.EKS.DescribeUpdate(ctx, in)
		switch {
		case cloud.IsTransient(err):
			return false, "no answer: " + cloud.Code(err), nil
		case err != nil:
			return false, "", err
		}
		switch got.Update.Status {
		case ekstypes.UpdateStatusSuccessful:
			return true, "", nil
		case ekstypes.UpdateStatusFailed, ekstypes.UpdateStatusCancelled:
			return false, "", &steps.Error{Code: "UpdateFailed", Category: steps.Unhealthy, Message: fmt.Sprintf("%s %s: %s", what, got.Update.Status, updateErrors(got.Update))}
		}
		return false, string(got.Update.Status), nil
	})
}

func updateErrors(u *ekstypes.Update) string {
	var out []string
	for _, e := range u.Errors {
		out = append(out, fmt.Sprintf("%s: %s", e.ErrorCode, aws.ToString(e.ErrorMessage)))
	}
	return strings.Join(out, "; ")
}
