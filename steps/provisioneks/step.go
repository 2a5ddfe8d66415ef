// Package provisioneks is the step provision-eks: a VPC, an EKS cluster with its roles, OIDC provider and node groups, found by owner
// tag, made as parallel as their true dependencies allow, and removed again.
//
// It must not touch Kubernetes objects but the Services and Ingresses that hold load balancers of a cluster that goes, and make none but
// PersistentVolumes that give volumes of claims back to a cluster that returns; nor touch anything that neither carries its owner tag nor was made by such a cluster's own controllers. Data volumes are another step's.
package provisioneks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/owned"
	"pipectl.dev/kube"
	"pipectl.dev/steps"
	"pipectl.dev/steps/reconcile"
)

// New makes the step.
// clusters is asked where volumes of claims were kept, and on the way down for the Services that hold load balancers; nil: those are
// removed, and these not given back.
func New(open cloud.Opener, clusters kube.Opener) steps.Definition {
	return steps.Define(steps.About{
		Name:    "provision-eks",
		Summary: "Make a VPC, an EKS cluster and its node groups, or use a cluster that exists",
		Example: "name: blog\nnodeGroups:\n  - {name: main, instanceTypes: [t3.medium], min: 1, desired: 2, max: 3}\n",
		Doc:     doc,
		AWS:     true,
		Expect:  wholeTime,
		Least:   least,
	}, &step{open: open, kube: clusters})
}

const doc = "Everything is found again by its owner tags, so there is no state file, and an interrupted run carries on.\n\n" +
	"Choices that the spec leaves open (Kubernetes version, zones, image family) are made once, when the thing is made. The desired size of a node\n" +
	"group is set at the start only. Drift is mended where AWS can change a thing in place, and refused, with the field named, where it cannot.\n" +
	"`network.nat` may change while nodes run, between single and per-az: each subnet gets its new way out before the old one goes. Where there\n" +
	"was none, gateways are added; node groups that are there stay in the public subnets, new ones go to the private ones. Back to none it goes\n" +
	"only without nodes in private subnets.\n" +
	"The Auto Scaling group behind a node group gets no tags of ours: EKS marks it for the discovery of cluster-autoscaler by itself. To scale a\n" +
	"group from zero, cluster-autoscaler reads its labels and taints from EKS, where its role may `eks:DescribeNodegroup`.\n" +
	"An access entry of ours whose principal left `access` is removed; entries that others made are named and left alone.\n" +
	"A node group of ours that left `nodeGroups` stays, and is named with its price, until `pipectl run --prune`: once the groups of the file are\n" +
	"ready its nodes are drained, and it is removed. A new name is so how instance types change without a time that has no nodes.\n\n" +
	"`tags` are on all that is made; what was there before gets them in place, and loses those that left `tags`. Tags of others stay.\n\n" +
	"Nothing is upgraded unless `version` names a newer one: then the control plane goes from minor version to minor version with the node groups\n" +
	"behind it, and never back. Add-ons are stages of their own (install-addon): give them the versions that go with the new one.\n\n" +
	"A zone that is full is left out of a node group that is not pinned to zones, and a zone that EKS refuses is left out of the control plane.\n\n" +
	"`down` removes node groups first, then the cluster, its roles and its network; it leaves data volumes alone. Volumes that the EBS CSI driver\n" +
	"made for claims are kept as well, and tagged with what their claims asked for. When the cluster returns, each gets a PersistentVolume that is\n" +
	"reserved for its claim before any node is there, so that whatever makes the claim again finds its data. `destroy --with-data` removes them,\n" +
	"each after a last snapshot, which stays."

// least maps what belongs to a cluster, named after it, to the cluster. What is left of claims holds data, and is nobody's to remove.
func least(kind, name string) (steps.Least, bool) {
	cluster, _, part := strings.Cut(name, "/")
	whole := slices.Contains([]string{kindCluster, kindVPC, kindIGW, kindOIDC}, kind)
	others := slices.Contains([]string{kindClaimed, kindLast, "eks:Addon", "eks:PodIdentityAssociation", "iam:IssuerProvider"}, kind) // of other steps
	if others || cluster == "" || !part && !whole {
		return steps.Least{}, false
	}
	return steps.Least{With: fmt.Sprintf("{name: %q}", cluster)}, true
}

type step struct {
	open cloud.Opener
	kube kube.Opener
}

// ResourceKeys names what no other stage may make.
func (s *Spec) ResourceKeys() []string {
	if s.Existing || s.Name == "" {
		return nil
	}
	return []string{reconcile.ID(kindCluster, s.Name)}
}

// begin opens the session and lays out the parts.
func (p *step) begin(ctx context.Context, env steps.Env, sp Spec, down bool) (*state, error) {
	session, err := p.open(ctx, sp.Region)
	if err != nil {
		return nil, err
	}
	s := &state{aws: session, env: env, spec: sp, owner: env.Identity.String(), down: down}
	if s.caller, err = session.Identify(ctx); err != nil {
		return nil, err
	}
	s.look = s.newLooks()
	if sp.Existing {
		return s, nil
	}
	if err := s.findNetwork(ctx); err != nil {
		return nil, cloud.Explain(err)
	}
	claimed := make(chan error, 1)
	if s.open = p.kube; s.open != nil && !down {
		go func() { claimed <- s.findClaimed(ctx) }()
	} else {
		claimed <- nil
	}
	s.prefetch(ctx)
	if err := <-claimed; err != nil {
		return nil, err
	}
	s.resumed, s.tagged = s.anything(), s.wasTagged(ctx)
	left := make(chan error, 1)
	go func() {
		if down {
			left <- nil
			return
		}
		left <- errors.Join(s.leftAccess(ctx), s.leftGroups(ctx))
	}()
	zones, err := s.zones(ctx)
	if err := errors.Join(cloud.Explain(err), <-left); err != nil {
		return nil, err
	}
	if err := s.findStayers(ctx); err != nil {
		return nil, cloud.Explain(err)
	}
	if err := s.layOut(zones); err != nil {
		return nil, err
	}
	if down {
		return s, s.adopt(ctx)
	}
	if err := s.foretell(ctx); err != nil {
		return nil, err
	}
	return s, cloud.Explain(s.leftGateways(ctx))
}

func (s *state) list(rs []resource) owned.List[state] {
	return owned.List[state]{AWS: s.aws, Resources: rs, Report: s.env.Report, Blocked: blockers}
}

func (p *step) Plan(ctx context.Context, env steps.Env, sp Spec) (steps.Plan[Outputs], error) {
	var plan steps.Plan[Outputs]
	s, err := p.begin(ctx, env, sp, false)
	if err != nil {
		return plan, err
	}
	if sp.Existing {
		return s.planExisting(ctx)
	}
	for _, n := range s.notes {
		env.Note(n)
	}
	plan.Changes, err = s.list(s.resources()).Plan(ctx, s)
	if err != nil {
		return plan, err
	}
	if keepsAll(plan.Changes) {
		out := s.outputs()
		plan.Outputs = &out
	}
	plan.Forecast, err = s.forecast(ctx, plan.Changes)
	return plan, err
}

func keepsAll(cs []steps.Change) bool {
	for _, c := range cs {
		if c.Action != reconcile.Keep {
			return false
		}
	}
	return true
}

func (p *step) Apply(ctx context.Context, env steps.Env, sp Spec) (Outputs, error) {
	s, err := p.begin(ctx, env, sp, false)
	if err != nil {
		return Outputs{}, err
	}
	if sp.Existing {
		return s.applyExisting(ctx)
	}
	if err := s.list(s.resources()).Apply(ctx, s); err != nil {
		return Outputs{}, err
	}
	return s.outputs(), nil
}

// Observe finds the cluster as soon as it is ACTIVE, whatever else is missing: what runs in it must be reachable, on the way down most of all.
func (p *step) Observe(ctx context.Context, env steps.Env, sp Spec) (Outputs, bool, error) {
	s, err := p.begin(ctx, env, sp, true)
	if err != nil {
		return Outputs{}, false, err
	}
	if sp.Existing {
		return s.existing(ctx)
	}
	if _, err := s.list(s.resources()).Plan(ctx, s); err != nil {
		return Outputs{}, false, err
	}
	if s.cluster == nil || s.cluster.Status != "ACTIVE" && s.cluster.Status != "UPDATING" {
		return Outputs{}, false, nil
	}
	return s.outputs(), true, nil
}

// Release removes the node groups and waits until they are gone. The rest stays: nodes need the CSI driver's role and a way out to let
// go of their volumes.
func (p *step) Release(ctx context.Context, env steps.Env, sp Spec) error {
	if sp.Existing {
		return nil
	}
	s, err := p.begin(ctx, env, sp, true)
	if err != nil {
		return err
	}
	if err := s.withoutBalancers(ctx, p.kube); err != nil {
		return err
	}
	if err := s.keepClaimed(ctx, p.kube); err != nil {
		return err
	}
	var groups []resource
	for _, g := range s.lay.groups {
		groups = append(groups, nodeGroup(sp, g, nil))
	}
	return s.list(groups).Destroy(ctx, s, false)
}

func (p *step) Delete(ctx context.Context, env steps.Env, sp Spec, o steps.DeleteOptions) error {
	if sp.Existing {
		return nil
	}
	s, err := p.begin(ctx, env, sp, true)
	if err != nil {
		return err
	}
	if err := s.withoutBalancers(ctx, nil); err != nil {
		return err
	}
	if err := s.keepClaimed(ctx, nil); err != nil {
		return err
	}
	if err := s.list(s.resources()).Destroy(ctx, s, o.WithData); err != nil {
		return errors.Join(s.unseen, err)
	}
	if err := s.removeStaleProviders(ctx); err != nil {
		return cloud.Explain(err)
	}
	if err := s.claimedVolumes(ctx, o.WithData); err != nil {
		return err
	}
	return s.leftovers(ctx)
}

func precondition(code, message string, hints ...string) error {
	e := &steps.Error{Code: code, Category: steps.Precondition, Message: message}
	for _, h := range hints {
		if h != "" {
			e.Hints = append(e.Hints, h)
		}
	}
	return e
}
