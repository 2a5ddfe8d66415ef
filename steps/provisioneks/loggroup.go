package provisioneks

import (
	"context"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/owned"
)

const kindLogs = "logs:LogGroup"

// logGroup is where the control plane logs. It is made before the cluster, so that it carries our tags and a retention: one that EKS makes
// itself keeps all for ever, and outlives the cluster. On the way down it goes last: a control plane makes it anew.
func logGroup(sp Spec) resource {
	group := "/aws/eks/" + sp.Name + "/cluster"
	return resource{
		Kind: kindLogs, Name: sp.Name,
		Observe: func(ctx context.Context, s *state) (status, error) {
			g, err := s.aws.LogGroup(ctx, group)
			if s.down && cloud.IsDenied(err) { // a caller who may not look has not made one
				return absent, nil
			}
			if err != nil || g == nil {
				return absent, err
			}
			ours := cloud.Ours(g.Tags, s.owner, kindLogs, sp.Name)
			var d owned.Drift
			if ours && !s.down {
				d.Mend("logRetentionDays", g.Retention, sp.LogRetentionDays)
			}
			// One that was there before does as well; it is neither changed nor removed.
			return status{Exists: true, Ready: true, ID: group, ARN: g.ARN, Drift: d, Foreign: s.down && !ours}, nil
		},
		Create: func(ctx context.Context, s *state) error {
			if err := s.aws.CreateLogGroup(ctx, group, s.tags(kindLogs, sp.Name)); err != nil {
				return err
			}
			return s.aws.RetainLogs(ctx, group, sp.LogRetentionDays)
		},
		Update: func(ctx context.Context, s *state, _ []string) error {
			return s.aws.RetainLogs(ctx, group, sp.LogRetentionDays)
		},
		Delete: func(ctx context.Context, s *state) error { return s.aws.DeleteLogGroup(ctx, group) },
	}
}
