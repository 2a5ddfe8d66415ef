package provisioneks

import (
	"context"
	"fmt"
	"slices"
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
	report := func(p wait.Progress) { s.env.WaitingFor(what+" "+p.Detail, p) }
	o := wait.Options{Expect: 90 * time.Second, Timeout: time.Hour, Speed: s.aws.Speed, Report: report}
	return wait.Until(ctx, o, func(ctx context.Context) (bool, string, error) {
		got, err := cloud.EKS(s.aws).DescribeUpdate(ctx, in)
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

// progress is an error when an update that EKS calls successful has left everything as it was: asking again would never end.
func progress(before, now []string) error {
	if len(before) == 0 || !slices.Equal(before, now) {
		return nil
	}
	return &steps.Error{Code: "UpdateWithoutEffect", Category: steps.Unhealthy, Message: "EKS says that the update succeeded, but still: " + strings.Join(now, "; "),
		Hints: []string{"look whether something else changes it back, such as a policy or another tool"}}
}

func updateErrors(u *ekstypes.Update) string {
	var out []string
	for _, e := range u.Errors {
		out = append(out, fmt.Sprintf("%s: %s", e.ErrorCode, aws.ToString(e.ErrorMessage)))
	}
	return strings.Join(out, "; ")
}
