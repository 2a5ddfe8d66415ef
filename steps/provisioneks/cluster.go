package provisioneks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/owned"
	"pipectl.dev/steps"
	"pipectl.dev/steps/reconcile"
)

func cluster(sp Spec, needs []string) resource {
	id := reconcile.ID(kindCluster, sp.Name)
	return resource{
		Kind: kindCluster, Name: sp.Name, Needs: needs, Expect: 510 * time.Second, Gone: 150 * time.Second,
		Observe: func(ctx context.Context, s *state) (status, error) {
			c, err := s.look.cluster.Get(ctx, id)
			if err != nil {
				return absent, err
			}
			s.cluster = c
			return s.clusterStatus(c)
		},
		Create: func(ctx context.Context, s *state) error {
			defer s.look.cluster.Changed()
			return s.createCluster(ctx)
		},
		Update: func(ctx context.Context, s *state, _ []string) error {
			defer s.look.cluster.Changed()
			return s.updateCluster(ctx)
		},
		Delete: func(ctx context.Context, s *state) error {
			defer s.look.cluster.Changed()
			_, err := cloud.EKS(s.aws).DeleteCluster(ctx, &eks.DeleteClusterInput{Name: &sp.Name})
			return err
		},
	}
}

// spread makes a call that needs role, and waits for IAM to spread a fresh one.
func (s *state) spread(ctx context.Context, p rolePart, call func(context.Context) error) error {
	name := s.roleName(p.part)
	again := func(err error) bool {
		return unspread(err) && s.fresh(name) || cloud.IsNotFound(err) || cloud.Code(err) == "ResourcePropagationDelayException"
	}
	err := s.aws.Retry(ctx, propagation, again, call)
	if unspread(err) {
		return &steps.Error{Code: "RoleRefused", Category: steps.Precondition, Message: "role " + name, Err: cloud.Explain(err),
			Hints: []string{"check that the role's trust policy names " + p.service + " and that an organisation's policy does not forbid it"}}
	}
	return err
}

func (s *state) clusterStatus(c *ekstypes.Cluster) (status, error) {
	if c == nil {
		return absent, nil
	}
	st := status{
		Exists: true, Ready: c.Status == ekstypes.ClusterStatusActive, Detail: string(c.Status), ID: aws.ToString(c.Name), ARN: aws.ToString(c.Arn),
		Foreign: !cloud.Ours(c.Tags, s.owner, kindCluster, s.spec.Name),
	}
	if s.down || st.Foreign {
		return st, nil
	}
	switch c.Status {
	case ekstypes.ClusterStatusFailed:
		return st, &steps.Error{Code: "ClusterFailed", Category: steps.Unhealthy, Message: "the control plane failed: " + clusterIssues(c),
			Hints: []string{"remove it by `pipectl down`, then run again"}}
	case ekstypes.ClusterStatusDeleting:
		if s.madeNow(kindCluster, s.spec.Name) {
			return st, &steps.Error{Code: "ClusterDeleting", Category: steps.Conflict, Retryable: true, Message: "somebody deletes the cluster while it is made",
				Hints: []string{"run again in about 3 minutes"}}
		}
		st.Drift = []string{"status: have DELETING, want ACTIVE"} // by a `down` that was cut off: it is awaited, then made anew
		return st, nil
	}
	st.Drift = s.clusterDrift(c)
	return st, nil
}

func (s *state) createCluster(ctx context.Context) error {
	s.markMade(kindCluster, s.spec.Name)
	version, err := s.newVersion(ctx)
	if err != nil {
		return err
	}
	return s.spread(ctx, clusterRole, func(ctx context.Context) error {
		for {
			_, err := cloud.EKS(s.aws).CreateCluster(ctx, s.createInput(version))
			if cloud.IsExists(err) { // our own call, sent twice after a lost answer
				return nil
			}
			var unsupported *ekstypes.UnsupportedAvailabilityZoneException
			if !errors.As(err, &unsupported) {
				return err
			}
			if err := s.leaveOut(unsupported.ValidZones); err != nil {
				return err
			}
		}
	})
}

func clusterIssues(c *ekstypes.Cluster) string {
	var out []string
	if c.Health != nil {
		for _, i := range c.Health.Issues {
			out = append(out, fmt.Sprintf("%s: %s %v", i.Code, aws.ToString(i.Message), i.ResourceIds))
		}
	}
	if len(out) == 0 {
		return "EKS gives no reason"
	}
	return strings.Join(out, "; ")
}

// clusterDrift compares what the spec says with what is. What it leaves out (version, most of all) is not compared.
func (s *state) clusterDrift(c *ekstypes.Cluster) []string {
	var d owned.Drift
	have, want := aws.ToString(c.Version), s.spec.Version
	switch {
	case want == "" || want == have:
	case minor(want) > minor(have):
		d.Mend("version", have, want)
	default:
		d.Fixed("version", have, want)
	}
	if v := c.ResourcesVpcConfig; v != nil {
		d.Mend("endpoint.public", v.EndpointPublicAccess, *s.spec.Endpoint.Public)
		d.Mend("endpoint.private", v.EndpointPrivateAccess, *s.spec.Endpoint.Private)
		if *s.spec.Endpoint.Public {
			d.Mend("endpoint.publicCIDRs", sortedCopy(v.PublicAccessCidrs), sortedCopy(s.publicCIDRs()))
		}
	}
	d.Mend("logging", logsOn(c.Logging), sortedCopy(s.spec.Logging))
	if key := encryptionKey(c); key == "" {
		d.Mend("kmsKeyArn", key, s.spec.KMSKeyARN)
	} else { // for ever
		d.Fixed("kmsKeyArn", key, s.spec.KMSKeyARN)
	}
	return d
}

func minor(version string) int {
	var n int
	_, _ = fmt.Sscanf(version, "1.%d", &n)
	return n
}

func sortedCopy(list []string) []string {
	out := slices.Clone(list)
	slices.Sort(out)
	return slices.Compact(out)
}

func (s *state) publicCIDRs() []string {
	if len(s.spec.Endpoint.PublicCIDRs) == 0 {
		return []string{everywhere}
	}
	return s.spec.Endpoint.PublicCIDRs
}

func logsOn(l *ekstypes.Logging) []string {
	var on []string
	if l != nil {
		for _, set := range l.ClusterLogging {
			if aws.ToBool(set.Enabled) {
				for _, t := range set.Types {
					on = append(on, string(t))
				}
			}
		}
	}
	return sortedCopy(on)
}

func encryptionKey(c *ekstypes.Cluster) string {
	for _, e := range c.EncryptionConfig {
		if e.Provider != nil {
			return aws.ToString(e.Provider.KeyArn)
		}
	}
	return ""
}

func (s *state) clusterSubnets() []string {
	var ids []string
	for _, p := range s.controlPlaneSubnets() {
		ids = append(ids, p.id)
	}
	return ids
}

// controlPlaneSubnets are where EKS puts its network interfaces: the private ones, where there are two. None in a zone that EKS has
// refused in this run.
func (s *state) controlPlaneSubnets() []*subnetPart {
	list := s.subnets()
	if len(s.lay.private) >= 2 {
		list = s.lay.private
	}
	if len(s.planeZones) == 0 {
		return list
	}
	return slices.DeleteFunc(slices.Clone(list), func(p *subnetPart) bool { return !slices.Contains(s.planeZones, p.zone) })
}

// leaveOut takes the control plane out of zones that EKS does not want it in. Nodes may stay there. Which zones these are changes, and
// names mean another zone in every account; so what EKS says counts for more than what the preflight knows.
func (s *state) leaveOut(valid []string) error {
	var bad []string
	left := map[string]bool{}
	for _, p := range s.controlPlaneSubnets() {
		if slices.Contains(valid, p.zone) {
			left[p.zone] = true
		} else {
			bad = append(bad, p.zone)
		}
	}
	bad = sortedCopy(bad)
	if len(left) < 2 || len(bad) == 0 {
		return precondition("UnsupportedZone", fmt.Sprintf("network: EKS makes no control plane in %s, and needs subnets in two zones of %s", strings.Join(bad, ", "), strings.Join(valid, ", ")),
			"remove the cluster by `pipectl down`, then set network.zones to some of "+strings.Join(valid, ", "))
	}
	s.planeZones = valid
	s.env.Note("EKS makes no control plane in " + strings.Join(bad, ", ") + ": it is made in the other zones of the network")
	return nil
}
