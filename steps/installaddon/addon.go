package installaddon

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"gopkg.in/yaml.v3"
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
	kube  func(context.Context) (*kube.Client, error) // opened only to look for nodes
	env   steps.Env
	spec  Spec
	owner string
	down  bool

	seen    *ekstypes.Addon
	changed bool   // this run made or changed it: a failure is now, not of an earlier run
	newer   string // a version that EKS proposes over the one that runs
}

func (s *state) cluster() *string { return &s.spec.Cluster.EKS.Name }

func (s *state) addon() resource {
	return resource{
		Kind: kindAddon, Name: s.name(), Expect: usual, Gone: 10 * time.Second, Timeout: limit,
		Observe: func(ctx context.Context, s *state) (status, error) { return s.observe(ctx) },
		Create:  func(ctx context.Context, s *state) error { return s.create(ctx) },
		Update:  func(ctx context.Context, s *state, drift []string) error { return s.update(ctx, drift) },
		Delete: func(ctx context.Context, s *state) error {
			_, err := cloud.EKS(s.aws).DeleteAddon(ctx, &eks.DeleteAddonInput{ClusterName: s.cluster(), AddonName: &s.spec.Name})
			return err
		},
	}
}

// observe tells CREATE_FAILED and UPDATE_FAILED with EKS's own reasons as soon as they show; DEGRADED may still pass.
func (s *state) observe(ctx context.Context) (status, error) {
	out, err := cloud.EKS(s.aws).DescribeAddon(ctx, &eks.DescribeAddonInput{ClusterName: s.cluster(), AddonName: &s.spec.Name})
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
	}
	ours := cloud.Ours(a.Tags, s.owner, kindAddon, s.name())
	if why := issues(a); why != "" {
		st.Detail += ": " + why
	}
	if s.down {
		st.Foreign = !ours
		return st, nil
	}
	switch a.Status {
	case ekstypes.AddonStatusCreateFailed, ekstypes.AddonStatusUpdateFailed:
		if s.changed {
			return st, &steps.Error{Code: "AddonFailed", Category: steps.Unhealthy, Message: st.Detail, Hints: []string{remedy(a)}}
		}
		st.Drift = []string{"status: have " + st.Detail + ", want ACTIVE"}
	case ekstypes.AddonStatusDeleting:
		if !s.changed { // by a run that was cut off: it is awaited, then made anew
			st.Drift = []string{"status: have DELETING, want ACTIVE"}
			break
		}
		return st, &steps.Error{Code: "AddonDeleting", Category: steps.Conflict, Retryable: true, Message: "the add-on is being deleted", Hints: []string{"run again in a minute"}}
	case ekstypes.AddonStatusCreating, ekstypes.AddonStatusUpdating: // a change is on its way
	default:
		st.Drift = s.drift(a)
	}
	// One that another tool made is as good, as long as nothing of it must be changed.
	st.Foreign = !ours && len(st.Drift) > 0
	return st, nil
}

func (s *state) drift(a *ekstypes.Addon) []string {
	var d owned.Drift
	if v := s.spec.pinned(); v != "" {
		d.Mend("version", aws.ToString(a.AddonVersion), v)
	}
	if s.spec.RoleARN != "" {
		d.Mend("roleArn", aws.ToString(a.ServiceAccountRoleArn), s.spec.RoleARN)
	}
	if s.spec.Configuration != "" && !sameConfiguration(aws.ToString(a.ConfigurationValues), s.spec.Configuration) {
		d.Mend("configuration", "other values", "the spec's")
	}
	return d
}

// sameConfiguration compares values: EKS may give them back in another form of YAML or JSON.
func sameConfiguration(a, b string) bool {
	var x, y any
	if yaml.Unmarshal([]byte(a), &x) != nil || yaml.Unmarshal([]byte(b), &y) != nil {
		return strings.TrimSpace(a) == strings.TrimSpace(b)
	}
	return reflect.DeepEqual(x, y)
}

// remedy is what usually mends an add-on that failed.
func remedy(a *ekstypes.Addon) string {
	if a.Health != nil {
		for _, i := range a.Health.Issues {
			switch i.Code {
			case ekstypes.AddonIssueCodeConfigurationConflict:
				return "another tool manages its objects: use conflicts: overwrite to take them over"
			case ekstypes.AddonIssueCodeInsufficientNumberOfReplicas:
				return "its pods have nowhere to run: look at the nodes' number, size and taints"
			case ekstypes.AddonIssueCodeAccessDenied, ekstypes.AddonIssueCodeAddonSubscriptionNeeded:
				return "EKS may not do it for this account: look at the role and, for a marketplace add-on, its subscription"
			}
		}
	}
	return "run again: a failed add-on is made anew"
}

// name is that of the add-on under its cluster.
func (s *state) name() string {
	if s.spec.Cluster.EKS == nil {
		return s.spec.Name
	}
	return s.spec.Cluster.EKS.Name + "/" + s.spec.Name
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
	err := s.awaitNode(ctx)
	if err != nil {
		return err
	}
	s.changed = true
	conflicts := ekstypes.ResolveConflictsOverwrite
	if s.spec.Conflicts == "none" {
		conflicts = ekstypes.ResolveConflictsNone
	}
	in := &eks.CreateAddonInput{
		ClusterName: s.cluster(), AddonName: &s.spec.Name, ResolveConflicts: conflicts, Tags: cloud.Tags(s.owner, kindAddon, s.name()),
		ClientRequestToken: aws.String(cloud.ClientToken(s.owner, kindAddon, s.name(), s.spec.Cluster.EKS.CreatedAt, s.env.RunID, s.seen != nil)),
	}
	if in.AddonVersion, err = s.choose(ctx); err != nil {
		return err
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
		_, err := cloud.EKS(s.aws).CreateAddon(ctx, in)
		if cloud.IsExists(err) { // our own call, sent twice after a lost answer
			return nil
		}
		return err
	})
}

func (s *state) update(ctx context.Context, drift []string) error {
	if s.seen != nil && (s.seen.Status == ekstypes.AddonStatusCreateFailed || s.seen.Status == ekstypes.AddonStatusDeleting) {
		return s.replace(ctx)
	}
	if owned.Of(drift, "status") && s.seen != nil {
		drift = s.drift(s.seen)
	}
	s.changed = true
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
		in.AddonVersion = s.seen.AddonVersion // an update that failed is tried again as it is
	}
	_, err := cloud.EKS(s.aws).UpdateAddon(ctx, in)
	return err
}

// replace removes an add-on that an earlier run left failed, and makes it again: EKS does not try twice by itself.
func (s *state) replace(ctx context.Context) error {
	_, err := cloud.EKS(s.aws).DeleteAddon(ctx, &eks.DeleteAddonInput{ClusterName: s.cluster(), AddonName: &s.spec.Name})
	if err != nil && !cloud.IsNotFound(err) && !cloud.IsConflict(err) {
		return err
	}
	err = wait.Until(ctx, wait.Options{Expect: 10 * time.Second, Timeout: 10 * time.Minute, Speed: s.aws.Speed}, func(ctx context.Context) (bool, string, error) {
		_, err := cloud.EKS(s.aws).DescribeAddon(ctx, &eks.DescribeAddonInput{ClusterName: s.cluster(), AddonName: &s.spec.Name})
		if cloud.IsTransient(err) {
			return false, "no answer", nil
		}
		if cloud.IsNotFound(err) {
			return true, "", nil
		}
		return false, "DELETING", err
	})
	if err != nil {
		return err
	}
	return s.create(ctx)
}

// awaitNode waits for the first node that is Ready: node groups are there before, but only kubelet knows when it can run a pod.
func (s *state) awaitNode(ctx context.Context) error {
	k, err := s.kube(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	o := wait.Options{Timeout: 10 * time.Minute, Min: time.Second, Max: 5 * time.Second}
	o.Report = func(p wait.Progress) { s.env.Waiting(p.Detail, time.Since(began), 0) }
	err = wait.Until(ctx, o, func(ctx context.Context) (bool, string, error) {
		nodes, err := k.Nodes(ctx)
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
