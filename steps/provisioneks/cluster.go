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
			s.markMade(kindCluster, sp.Name)
			version, err := s.newVersion(ctx)
			if err != nil {
				return err
			}
			return s.spread(ctx, clusterRole, func(ctx context.Context) error {
				_, err := s.aws.EKS.CreateCluster(ctx, s.createInput(version))
				if cloud.IsExists(err) { // our own call, sent twice after a lost answer
					return nil
				}
				return err
			})
		},
		Update: func(ctx context.Context, s *state, drift []string) error {
			defer s.look.cluster.Changed()
			return s.updateCluster(ctx, drift)
		},
		Delete: func(ctx context.Context, s *state) error {
			defer s.look.cluster.Changed()
			_, err := s.aws.EKS.DeleteCluster(ctx, &eks.DeleteClusterInput{Name: &sp.Name})
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
		return st, &steps.Error{Code: "ClusterDeleting", Category: steps.Conflict, Retryable: true, Message: "the cluster is being deleted",
			Hints: []string{"run again in about 3 minutes"}}
	}
	st.Drift = s.clusterDrift(c)
	return st, nil
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
	case minor(want) == minor(have)+1:
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
	if key := encryptionKey(c); s.spec.KMSKeyARN != "" || key != "" {
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

// controlPlaneSubnets are where EKS puts its network interfaces: the private ones, where there are two.
func (s *state) controlPlaneSubnets() []*subnetPart {
	if len(s.lay.private) >= 2 {
		return s.lay.private
	}
	return s.subnets()
}

func (s *state) createInput(version string) *eks.CreateClusterInput {
	in := &eks.CreateClusterInput{
		Name: &s.spec.Name, RoleArn: &s.clusterRole, Version: &version, Tags: s.tags(kindCluster, s.spec.Name),
		ClientRequestToken: s.token(kindCluster, s.spec.Name, s.clusterSubnets(), version),
		ResourcesVpcConfig: s.endpointConfig(),
		AccessConfig: &ekstypes.CreateAccessConfigRequest{
			AuthenticationMode: ekstypes.AuthenticationModeApi, BootstrapClusterCreatorAdminPermissions: aws.Bool(true),
		},
		Logging: s.logging(),
	}
	in.ResourcesVpcConfig.SubnetIds = s.clusterSubnets()
	if s.spec.KMSKeyARN != "" {
		in.EncryptionConfig = []ekstypes.EncryptionConfig{{Provider: &ekstypes.Provider{KeyArn: &s.spec.KMSKeyARN}, Resources: []string{"secrets"}}}
	}
	return in
}

func (s *state) endpointConfig() *ekstypes.VpcConfigRequest {
	v := &ekstypes.VpcConfigRequest{EndpointPublicAccess: s.spec.Endpoint.Public, EndpointPrivateAccess: s.spec.Endpoint.Private}
	if *s.spec.Endpoint.Public {
		v.PublicAccessCidrs = s.publicCIDRs()
	}
	return v
}

func (s *state) logging() *ekstypes.Logging {
	var on, off []ekstypes.LogType
	for _, t := range ekstypes.LogType("").Values() {
		if slices.Contains(s.spec.Logging, string(t)) {
			on = append(on, t)
		} else {
			off = append(off, t)
		}
	}
	var sets []ekstypes.LogSetup
	if len(on) > 0 {
		sets = append(sets, ekstypes.LogSetup{Enabled: aws.Bool(true), Types: on})
	}
	if len(off) > 0 {
		sets = append(sets, ekstypes.LogSetup{Enabled: aws.Bool(false), Types: off})
	}
	return &ekstypes.Logging{ClusterLogging: sets}
}

// updateCluster makes one change after the other: EKS allows one at a time.
func (s *state) updateCluster(ctx context.Context, drift []string) error {
	token := func(what string) *string { return s.token(kindCluster, s.spec.Name, what, drift) }
	if owned.Of(drift, "logging") {
		o, err := s.aws.EKS.UpdateClusterConfig(ctx, &eks.UpdateClusterConfigInput{Name: &s.spec.Name, Logging: s.logging(), ClientRequestToken: token("logging")})
		if err != nil {
			return err
		}
		if err := s.updated(ctx, "", o.Update); err != nil {
			return err
		}
	}
	if owned.Of(drift, "endpoint.public") || owned.Of(drift, "endpoint.private") || owned.Of(drift, "endpoint.publicCIDRs") {
		o, err := s.aws.EKS.UpdateClusterConfig(ctx, &eks.UpdateClusterConfigInput{Name: &s.spec.Name, ResourcesVpcConfig: s.endpointConfig(), ClientRequestToken: token("endpoint")})
		if err != nil {
			return err
		}
		if err := s.updated(ctx, "", o.Update); err != nil {
			return err
		}
	}
	if owned.Of(drift, "version") {
		o, err := s.aws.EKS.UpdateClusterVersion(ctx, &eks.UpdateClusterVersionInput{Name: &s.spec.Name, Version: &s.spec.Version, ClientRequestToken: token("version")})
		if err != nil {
			return err
		}
		return s.updated(ctx, "", o.Update)
	}
	return nil
}
