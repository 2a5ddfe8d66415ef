// Package installaddon is the step install-addon: one EKS add-on, made when a node is there to run it.
//
// It must not upgrade an add-on that nobody asked to upgrade, nor remove one that goes with its cluster anyway.
package installaddon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/owned"
	"pipectl.dev/kube"
	"pipectl.dev/steps"
	"pipectl.dev/steps/spec"
)

// Spec says which add-on the cluster has.
type Spec struct {
	Cluster       steps.ClusterRef `yaml:"cluster" json:"cluster" jsonschema:"required" jsonschema_description:"the EKS cluster"`
	Name          string           `yaml:"name" json:"name" jsonschema:"required" jsonschema_description:"name of the add-on, such as aws-ebs-csi-driver"`
	Version       string           `yaml:"version,omitempty" json:"version,omitempty" jsonschema:"pattern=^(latest$|v)" jsonschema_description:"such as v1.55.0-eksbuild.1, or latest; left out, EKS's default for the cluster is taken. Default and latest are looked up when the add-on is made and never changed unasked"`
	RoleARN       string           `yaml:"roleArn,omitempty" json:"roleArn,omitempty" jsonschema:"pattern=^arn:" jsonschema_description:"IAM role of its service account"`
	Conflicts     string           `yaml:"conflicts,omitempty" json:"conflicts,omitempty" jsonschema:"enum=overwrite,enum=none,enum=preserve,default=overwrite" jsonschema_description:"what happens to objects of the add-on that exist already; preserve counts for updates only"`
	Configuration string           `yaml:"configuration,omitempty" json:"configuration,omitempty" jsonschema_description:"configuration values of the add-on, as JSON or YAML text"`
}

// Validate refuses clusters that have no EKS add-ons.
func (sp *Spec) Validate() []spec.Problem {
	ps := sp.Cluster.Check("cluster")
	if len(ps) == 0 && sp.Cluster.EKS == nil {
		ps = append(ps, spec.Problem{Path: "cluster", Message: "expected an EKS cluster", Hint: "elsewhere, install what the add-on brings by apply-manifests"})
	}
	return ps
}

func (sp Spec) region(env steps.Env) string {
	if sp.Cluster.EKS != nil && sp.Cluster.EKS.Region != "" {
		return sp.Cluster.EKS.Region
	}
	return env.Identity.Region
}

// Outputs is what later stages may use.
type Outputs struct {
	Name    string `json:"name" jsonschema_description:"name of the add-on"`
	Version string `json:"version" jsonschema_description:"its version"`
	ARN     string `json:"arn" jsonschema_description:"its ARN"`
	Status  string `json:"status" jsonschema_description:"EKS's word for its state, such as ACTIVE"`
	Newer   string `json:"newer,omitempty" jsonschema_description:"the version that EKS would take for this cluster today, when it is another one; nothing is upgraded unasked"`
}

type step struct {
	aws  cloud.Opener
	kube kube.Opener
}

// New makes the step.
func New(aws cloud.Opener, k kube.Opener) steps.Definition {
	return steps.Define(steps.About{
		Name: "install-addon", Least: least, Summary: "Install an EKS add-on once a node can run it", AWS: true,
		Example: "cluster: {eks: {name: blog, region: ap-northeast-2}}\nname: aws-ebs-csi-driver\nroleArn: arn:aws:iam::111122223333:role/ebs-csi\n",
		Doc: "An add-on that is made before a node is Ready turns DEGRADED, and EKS looks again only after a quarter of an hour; so the step waits for " +
			"the first node. DEGRADED while its pods start is not a failure.",
		Expect: usual,
	}, step{aws, k})
}

// least names the add-on of a cluster.
func least(kind, name string) (steps.Least, bool) {
	cluster, addon, ok := strings.Cut(name, "/")
	return steps.Least{With: fmt.Sprintf("{cluster: {eks: {name: %q, region: null}}, name: %q}", cluster, addon), Partial: []string{"cluster.eks.region"}}, ok && kind == kindAddon
}

// Preflight checks a pinned version against every cluster version that EKS knows, before anything is made.
func (st step) Preflight(ctx context.Context, env steps.Env, sp Spec) error {
	session, err := st.aws(ctx, sp.region(env))
	if err != nil {
		return err
	}
	in := eks.DescribeAddonVersionsInput{AddonName: &sp.Name}
	if sp.Cluster.EKS != nil && sp.Cluster.EKS.Version != "" {
		in.KubernetesVersion = &sp.Cluster.EKS.Version
	}
	versions, err := versionsOf(ctx, session, in)
	if err != nil {
		return cloud.Explain(err)
	}
	if len(versions) == 0 {
		return &steps.Error{Code: "UnknownAddon", Category: steps.Precondition, Message: "EKS has no add-on " + sp.Name, Hints: []string{"`aws eks describe-addon-versions` lists them"}}
	}
	if sp.pinned() != "" && !slices.ContainsFunc(versions, func(v version) bool { return v.name == sp.Version }) {
		return &steps.Error{Code: "UnsupportedAddonVersion", Category: steps.Precondition, Message: fmt.Sprintf("add-on %s has no version %s", sp.Name, sp.Version),
			Hints: []string{"leave version out, or take " + sp.proposed(versions)}}
	}
	env.Checked("add-on "+sp.Name, cmp.Or(sp.pinned(), sp.proposed(versions)+map[bool]string{true: ", the latest", false: " by default"}[sp.Version == latest]), true)
	denied, err := session.Allowed(ctx, env, actions)
	return cmp.Or(cloud.Explain(err), denied)
}

// actions are all that this step may call in its life.
var actions = []string{"eks:CreateAddon", "eks:DeleteAddon", "eks:DescribeAddon", "eks:DescribeAddonVersions", "eks:DescribeCluster", "eks:ListNodegroups", "eks:TagResource",
	"eks:UpdateAddon", "iam:PassRole"}

func (st step) Plan(ctx context.Context, env steps.Env, sp Spec) (steps.Plan[Outputs], error) {
	s, err := st.open(ctx, env, sp)
	if err != nil {
		return steps.Plan[Outputs]{}, err
	}
	changes, err := s.list().Plan(ctx, s)
	p := steps.Plan[Outputs]{Changes: changes, Forecast: steps.Forecast{Seconds: usual.Seconds()}}
	if err != nil || changes[0].Action != "keep" {
		return p, err
	}
	if err := s.lookForNewer(ctx); err != nil {
		return p, cloud.Explain(err)
	}
	out := s.outputs()
	p.Outputs, p.Forecast.Seconds = &out, 0
	if s.newer != "" {
		p.Forecast.Notes = append(p.Forecast.Notes, fmt.Sprintf("%s %s is out, the cluster has %s; nothing is upgraded unless `version` says so", sp.Name, s.newer, out.Version))
	}
	return p, nil
}

func (st step) Apply(ctx context.Context, env steps.Env, sp Spec) (Outputs, error) {
	s, err := st.open(ctx, env, sp)
	if err != nil {
		return Outputs{}, err
	}
	if err := s.list().Apply(ctx, s); err != nil {
		return Outputs{}, err
	}
	err = s.lookForNewer(ctx)
	return s.outputs(), cloud.Explain(err)
}

func (st step) Observe(ctx context.Context, env steps.Env, sp Spec) (Outputs, bool, error) {
	if sp.Cluster.EKS == nil {
		return Outputs{}, false, nil
	}
	s, err := st.open(ctx, env, sp)
	if gone(err) {
		return Outputs{}, false, nil
	}
	if err != nil {
		return Outputs{}, false, err
	}
	seen, err := s.observe(ctx)
	if err != nil || !seen.Exists {
		return Outputs{}, false, cloud.Explain(err)
	}
	err = s.lookForNewer(ctx)
	return s.outputs(), true, cloud.Explain(err)
}

// Delete removes the add-on, but not when its cluster is ours and about to go: then it dies with it.
func (st step) Delete(ctx context.Context, env steps.Env, sp Spec, _ steps.DeleteOptions) error {
	if sp.Cluster.EKS == nil {
		return nil
	}
	session, err := st.aws(ctx, sp.region(env))
	if err != nil {
		return err
	}
	s := &state{aws: session, env: env, spec: sp, owner: env.Identity.String(), down: true}
	goes, err := s.clusterGoes(ctx)
	if err != nil || goes {
		return cloud.Explain(err)
	}
	return s.list().Destroy(ctx, s, false)
}

// clusterGoes reports a cluster that is gone, or going, or ours without nodes.
func (s *state) clusterGoes(ctx context.Context) (bool, error) {
	out, err := cloud.EKS(s.aws).DescribeCluster(ctx, &eks.DescribeClusterInput{Name: &s.spec.Cluster.EKS.Name})
	if cloud.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if out.Cluster.Status == "DELETING" {
		return true, nil
	}
	if out.Cluster.Tags[cloud.TagIdentity] != s.owner {
		return false, nil
	}
	groups, err := cloud.EKS(s.aws).ListNodegroups(ctx, &eks.ListNodegroupsInput{ClusterName: &s.spec.Cluster.EKS.Name})
	return err == nil && len(groups.Nodegroups) == 0, err
}

func gone(err error) bool {
	var e *steps.Error
	return errors.As(err, &e) && (e.Code == "ClusterNotFound" || e.Code == "ClusterUnreachable")
}

func (st step) open(ctx context.Context, env steps.Env, sp Spec) (*state, error) {
	session, err := st.aws(ctx, sp.region(env))
	if err != nil {
		return nil, err
	}
	s := &state{aws: session, env: env, spec: sp, owner: env.Identity.String()}
	s.kube = func(ctx context.Context) (*kube.Client, error) { return st.kube(ctx, sp.Cluster) }
	return s, nil
}

func (s *state) list() owned.List[state] {
	return owned.List[state]{AWS: s.aws, Resources: []resource{s.addon()}, Report: s.env.Report}
}

func (s *state) outputs() Outputs {
	if s.seen == nil {
		return Outputs{Name: s.spec.Name}
	}
	return Outputs{Name: s.spec.Name, Version: aws.ToString(s.seen.AddonVersion), ARN: aws.ToString(s.seen.AddonArn), Status: string(s.seen.Status), Newer: s.newer}
}
