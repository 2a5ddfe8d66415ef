package installaddon

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	corev1 "k8s.io/api/core/v1"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/owned"
	"pipectl.dev/kube"
	"pipectl.dev/steps"
	"pipectl.dev/steps/reconcile"
	"pipectl.dev/steps/wait"
)

const (
	kindAddon = "eks:Addon"
	usual     = 46 * time.Second // with a node Ready
	limit     = 20 * time.Minute // a DEGRADED add-on is looked at again by EKS after about 15 min
)

type (
	resource = reconcile.Resource[state]
	status   = reconcile.Status
)

type state struct {
	aws   *cloud.Session
	kube  *kube.Client
	env   steps.Env
	spec  Spec
	owner string
	down  bool

	seen *ekstypes.Addon
}

func (s *state) cluster() *string { return &s.spec.Cluster.EKS.Name }

func (s *state) addon() resource {
	return resource{
		Kind: kindAddon, Name: s.spec.Name, Expect: usual, Gone: 10 * time.Second, Timeout: limit,
		Observe: func(ctx context.Context, s *state) (status, error) { return s.observe(ctx) },
		Create:  func(ctx context.Context, s *state) error { return s.create(ctx) },
		Update:  func(ctx context.Context, s *state, drift []string) error { return s.update(ctx, drift) },
		Delete: func(ctx context.Context, s *state) error {
			_, err := s.aws.EKS.DeleteAddon(ctx, &eks.DeleteAddonInput{ClusterName: s.cluster(), AddonName: &s.spec.Name})
			return err
		},
	}
}

// observe tells CREATE_FAILED and UPDATE_FAILED with EKS's own reasons as soon as they show; DEGRADED may still pass.
func (s *state) observe(ctx context.Context) (status, error) {
	out, err := s.aws.EKS.DescribeAddon(ctx, &eks.DescribeAddonInput{ClusterName: s.cluster(), AddonName: &s.spec.Name})
	if cloud.IsNotFound(err) {
		s.seen = nil
		return status{}, nil
	}
	if err != nil {
		return status{}, err
	}
	a := out.Addon
	s.seen = a
	st := status{
		Exists: true, Ready: a.Status == ekstypes.AddonStatusActive, ID: s.spec.Name, ARN: aws.ToString(a.AddonArn), Detail: string(a.Status),
		Foreign: s.down && a.Tags[cloud.TagIdentity] != s.owner,
	}
	if why := issues(a); why != "" {
		st.Detail += ": " + why
	}
	if s.down {
		return st, nil
	}
	if a.Status == ekstypes.AddonStatusCreateFailed {
		return st, &steps.Error{Code: "AddonFailed", Category: steps.Unhealthy, Message: st.Detail, Hints: []string{"remove it and run again: `aws eks delete-addon`"}}
	}
	var d owned.Drift
	if s.spec.Version != "" {
		d.Mend("version", aws.ToString(a.AddonVersion), s.spec.Version)
	}
	if s.spec.RoleARN != "" {
		d.Mend("roleArn", aws.ToString(a.ServiceAccountRoleArn), s.spec.RoleARN)
	}
	if s.spec.Configuration != "" {
		d.Mend("configuration", strings.TrimSpace(aws.ToString(a.ConfigurationValues)), strings.TrimSpace(s.spec.Configuration))
	}
	if a.Status != ekstypes.AddonStatusCreating && a.Status != ekstypes.AddonStatusUpdating { // else the change is on its way
		st.Drift = d
	}
	return st, nil
}

func issues(a *ekstypes.Addon) string {
	if a.Health == nil {
		return ""
	}
	var out []string
	for _, i := range a.Health.Issues {
		out = append(out, string(i.Code)+" "+aws.ToString(i.Message))
	}
	return strings.Join(out, "; ")
}

func (s *state) create(ctx context.Context) error {
	if err := s.awaitNode(ctx); err != nil {
		return err
	}
	conflicts := ekstypes.ResolveConflictsOverwrite
	if s.spec.Conflicts == "none" {
		conflicts = ekstypes.ResolveConflictsNone
	}
	in := &eks.CreateAddonInput{
		ClusterName: s.cluster(), AddonName: &s.spec.Name, ResolveConflicts: conflicts, Tags: cloud.Tags(s.owner, kindAddon, s.spec.Name),
		ClientRequestToken: aws.String(cloud.ClientToken(s.owner, kindAddon, s.spec.Name, s.spec.Cluster.EKS.CreatedAt, s.env.RunID)),
	}
	if s.spec.Version != "" {
		in.AddonVersion = &s.spec.Version
	}
	if s.spec.RoleARN != "" {
		in.ServiceAccountRoleArn = &s.spec.RoleARN
	}
	if s.spec.Configuration != "" {
		in.ConfigurationValues = &s.spec.Configuration
	}
	// A role made a moment ago may not be known to EKS yet; the text is that of a role that never was.
	unspread := func(err error) bool {
		return cloud.Code(err) == "InvalidParameterException" && (cloud.Says(err, "does not exist") || cloud.Says(err, "could not be assumed"))
	}
	return s.aws.Retry(ctx, 2*time.Minute, unspread, func(ctx context.Context) error {
		_, err := s.aws.EKS.CreateAddon(ctx, in)
		if cloud.IsExists(err) || cloud.IsConflict(err) && s.there(ctx) { // our own call, sent twice after a lost answer
			return nil
		}
		return err
	})
}

func (s *state) there(ctx context.Context) bool {
	st, err := s.observe(ctx)
	return err == nil && st.Exists
}

func (s *state) update(ctx context.Context, drift []string) error {
	in := &eks.UpdateAddonInput{ClusterName: s.cluster(), AddonName: &s.spec.Name, ResolveConflicts: map[string]ekstypes.ResolveConflicts{
		"overwrite": ekstypes.ResolveConflictsOverwrite, "none": ekstypes.ResolveConflictsNone, "preserve": ekstypes.ResolveConflictsPreserve,
	}[s.spec.Conflicts]}
	if owned.Of(drift, "version") {
		in.AddonVersion = &s.spec.Version
	}
	if owned.Of(drift, "roleArn") {
		in.ServiceAccountRoleArn = &s.spec.RoleARN
	}
	if owned.Of(drift, "configuration") {
		in.ConfigurationValues = &s.spec.Configuration
	}
	if in.AddonVersion == nil && in.ServiceAccountRoleArn == nil && in.ConfigurationValues == nil {
		return nil // it only has to become ready
	}
	_, err := s.aws.EKS.UpdateAddon(ctx, in)
	return err
}

// awaitNode waits for the first node that is Ready: node groups are there before, but only kubelet knows when it can run a pod.
func (s *state) awaitNode(ctx context.Context) error {
	began := time.Now()
	o := wait.Options{Timeout: 10 * time.Minute, Min: time.Second, Max: 5 * time.Second}
	o.Report = func(p wait.Progress) { s.env.Waiting(p.Detail, time.Since(began), 0) }
	err := wait.Until(ctx, o, func(ctx context.Context) (bool, string, error) {
		nodes, err := s.kube.Nodes(ctx)
		if err != nil {
			return false, "", err
		}
		for _, n := range nodes {
			for _, c := range n.Status.Conditions {
				if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
					return true, "", nil
				}
			}
		}
		return false, fmt.Sprintf("%d nodes, none Ready", len(nodes)), nil
	})
	if err != nil {
		return fmt.Errorf("waiting for a node: %w", err)
	}
	return nil
}

// version is one version of an add-on.
type version struct {
	name      string
	isDefault bool
}

func versionsOf(ctx context.Context, session *cloud.Session, in *eks.DescribeAddonVersionsInput) ([]version, error) {
	var out []version
	pages := eks.NewDescribeAddonVersionsPaginator(session.EKS, in)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, a := range page.Addons {
			for _, v := range a.AddonVersions {
				x := version{name: aws.ToString(v.AddonVersion)}
				for _, c := range v.Compatibilities {
					x.isDefault = x.isDefault || c.DefaultVersion
				}
				out = append(out, x)
			}
		}
	}
	return out, nil
}

// newest is the version to propose: EKS's default when it tells one, else the first, which is the latest.
func newest(vs []version) string {
	for _, v := range vs {
		if v.isDefault {
			return v.name
		}
	}
	return vs[0].name
}
