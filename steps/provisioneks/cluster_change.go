package provisioneks

import (
	"context"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/owned"
	"pipectl.dev/steps/wait"
)

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
		in.EncryptionConfig = s.encryption()
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

// updateCluster makes one change after the other: EKS allows one at a time, and one that an interrupted run began may still be going on.
// What is left to do is therefore looked up before each.
func (s *state) updateCluster(ctx context.Context) error {
	for before := []string(nil); ; {
		c, err := s.clusterAtRest(ctx)
		if err != nil {
			return err
		}
		if c == nil { // it was being deleted
			return s.createCluster(ctx)
		}
		drift := s.clusterDrift(c)
		if len(drift) == 0 {
			return nil
		}
		if err := progress(before, drift); err != nil {
			return err
		}
		u, err := s.nextUpdate(ctx, c, drift)
		if busy(err) {
			continue // somebody's update has begun since
		}
		if err != nil {
			return err
		}
		if err := s.updated(ctx, "", u); err != nil {
			return err
		}
		before = drift
	}
}

// busy reports that another update of the cluster or node group is going on.
func busy(err error) bool {
	return cloud.Code(err) == "ResourceInUseException" && (cloud.Says(err, "update in progress") || cloud.Says(err, "not currently in Active State") || cloud.Says(err, "currently not in Active State"))
}

// atRest waits until something is neither updated nor deleted, and gives it as it then is, nil when it is gone. status tells its state; EKS
// names those of clusters and of node groups alike.
func atRest[T any](ctx context.Context, s *state, name string, describe func(context.Context) (*T, error), status func(*T) string) (*T, error) {
	var x *T
	report := func(p wait.Progress) { s.env.WaitingFor(name+" is "+p.Detail, p) }
	o := wait.Options{Timeout: time.Hour, Min: 5 * time.Second, Speed: s.aws.Speed, Report: report}
	err := wait.Until(ctx, o, func(ctx context.Context) (bool, string, error) {
		var err error
		x, err = describe(ctx)
		if cloud.IsTransient(err) {
			return false, "no answer", nil
		}
		if x == nil || err != nil {
			return true, "", err
		}
		now := status(x)
		return now != string(ekstypes.ClusterStatusUpdating) && now != string(ekstypes.ClusterStatusDeleting), now, nil
	})
	return x, err
}

func (s *state) clusterAtRest(ctx context.Context) (*ekstypes.Cluster, error) {
	return atRest(ctx, s, "the cluster", s.describeCluster, func(c *ekstypes.Cluster) string { return string(c.Status) })
}

// nextUpdate asks for the first of the changes that drift names: who may reach the cluster before what it logs, its version last.
func (s *state) nextUpdate(ctx context.Context, c *ekstypes.Cluster, drift []string) (*ekstypes.Update, error) {
	token := func(what string) *string { return s.token(kindCluster, s.spec.Name, what, drift) }
	in := &eks.UpdateClusterConfigInput{Name: &s.spec.Name}
	switch {
	case owned.Of(drift, "endpoint.public") || owned.Of(drift, "endpoint.private") || owned.Of(drift, "endpoint.publicCIDRs"):
		in.ResourcesVpcConfig, in.ClientRequestToken = s.endpointConfig(), token("endpoint")
	case owned.Of(drift, "logging"):
		in.Logging, in.ClientRequestToken = s.logging(), token("logging")
	case owned.Of(drift, "kmsKeyArn"):
		return s.encrypt(ctx, token("kms"))
	default:
		return s.nextMinor(ctx, aws.ToString(c.Version), token("version"))
	}
	o, err := cloud.EKS(s.aws).UpdateClusterConfig(ctx, in)
	if err != nil {
		return nil, err
	}
	return o.Update, nil
}
