package bindirsa

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/owned"
	"pipectl.dev/kube"
	"pipectl.dev/steps"
	"pipectl.dev/steps/reconcile"
)

// Kinds of what this step makes, as they stand in owner tags and plans.
const (
	kindRole    = "iam:Role"
	kindPolicy  = "iam:RolePolicy"
	kindInline  = "iam:InlinePolicy"
	kindAccount = "ServiceAccount"
	kindProof   = "sts:Proof"

	kindObject   = "s3:Object"
	kindProvider = "iam:IssuerProvider" // another kind than that of provision-eks, which is named by its cluster
	kindRestart  = "Restart"
)

const audience = "sts.amazonaws.com"

type (
	resource = reconcile.Resource[state]
	status   = reconcile.Status
)

// state is what the resources of one run know.
type state struct {
	aws    *cloud.Session
	kube   *kube.Client
	env    steps.Env
	spec   Spec
	owner  string
	caller cloud.Caller
	issuer string // without https://
	down   bool

	podsAll bool // what every service account gets by Pod Identity was proven
	rekeyed bool // other keys were published: what was proven before says nothing any more

	mu   sync.Mutex
	left []string // service accounts with annotations of others; guarded by mu

	roleARN string      // written by the role
	proven  string      // digest of what was proven last, as the role's tag says; written by the role
	notes   []string    // what the role's trust policy admits that is not ours; written by the role
	trusted []statement // the role's trust policy; written by the role

	attached *cloud.Look[[]string] // ARNs of the role's managed policies
	inlined  *cloud.Look[[]string] // names of its inline policies

	associations *cloud.Look[[]association]     // of the cluster
	documents    *cloud.Look[map[string][]byte] // by path, as they should be published
}

// name is that of the role, which must not depend on the cluster: down finds the role when the cluster is gone.
func (s *state) name() string {
	if s.spec.RoleName != "" {
		return s.spec.RoleName
	}
	first := s.spec.ServiceAccounts[0]
	return cloud.UniqueName(64, s.owner, s.env.Identity.Prefix(), strings.NewReplacer("*", "any", "?", "any").Replace(first.Name))
}

// looked prepares what several resources read of the role.
func (s *state) looked() {
	s.attached = &cloud.Look[[]string]{Fetch: func(ctx context.Context) ([]string, error) {
		attached, err := cloud.Paged(ctx, func(ctx context.Context, marker *string) ([]types.AttachedPolicy, *string, error) {
			o, err := cloud.IAM(s.aws).ListAttachedRolePolicies(ctx, &iam.ListAttachedRolePoliciesInput{RoleName: aws.String(s.name()), Marker: marker})
			if err != nil {
				return nil, nil, err
			}
			return o.AttachedPolicies, o.Marker, nil
		})
		var arns []string
		for _, p := range attached {
			arns = append(arns, aws.ToString(p.PolicyArn))
		}
		if cloud.IsNotFound(err) {
			return nil, nil
		}
		return arns, err
	}}
	s.documents = &cloud.Look[map[string][]byte]{Fetch: s.wantedDocuments}
	s.associations = &cloud.Look[[]association]{Fetch: func(ctx context.Context) ([]association, error) {
		if s.spec.Cluster.EKS == nil {
			return nil, nil
		}
		return associationsIn(ctx, s.aws, s.spec.Cluster.EKS.Name)
	}}
	s.inlined = &cloud.Look[[]string]{Fetch: func(ctx context.Context) ([]string, error) {
		names, err := cloud.Paged(ctx, func(ctx context.Context, marker *string) ([]string, *string, error) {
			o, err := cloud.IAM(s.aws).ListRolePolicies(ctx, &iam.ListRolePoliciesInput{RoleName: aws.String(s.name()), Marker: marker})
			if err != nil {
				return nil, nil, err
			}
			return o.PolicyNames, o.Marker, nil
		})
		if cloud.IsNotFound(err) {
			return nil, nil
		}
		return names, err
	}}
}

func (s *state) outputs() Outputs {
	out := Outputs{RoleARN: s.roleARN, RoleName: s.name(), ServiceAccounts: []string{}}
	if s.issuer != "" {
		out.Issuer = "https://" + s.issuer
	}
	switch {
	case s.spec.PodIdentity && s.podsAll:
		out.Proof = &Proof{Audience: podService}
	case !s.spec.PodIdentity && s.proven == s.digest():
		out.Proof = &Proof{Audience: audience, Refused: s.foreigner().String()}
	}
	for _, a := range s.spec.ServiceAccounts {
		out.ServiceAccounts = append(out.ServiceAccounts, a.String())
	}
	return out
}

func issuerOf(ctx context.Context, session *cloud.Session, cluster string) (string, error) {
	out, err := cloud.EKS(session).DescribeCluster(ctx, &eks.DescribeClusterInput{Name: &cluster})
	if err != nil {
		return "", cloud.Explain(err)
	}
	if out.Cluster.Identity == nil || out.Cluster.Identity.Oidc == nil {
		return "", &steps.Error{Code: "NoIssuer", Category: steps.Precondition, Retryable: true, Message: "it has no OIDC issuer yet"}
	}
	return strings.TrimPrefix(aws.ToString(out.Cluster.Identity.Oidc.Issuer), "https://"), nil
}

func (s *state) providerARN() string {
	return "arn:" + s.caller.Partition + ":iam::" + s.caller.Account + ":oidc-provider/" + s.issuer
}

// providerExists tells a missing provider before STS would, in words about a token.
func (s *state) providerExists(ctx context.Context) error {
	_, err := cloud.IAM(s.aws).GetOpenIDConnectProvider(ctx, &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: aws.String(s.providerARN())})
	hint := "let provision-eks make the cluster, or register the issuer: `eksctl utils associate-iam-oidc-provider`"
	if s.spec.Issuer != nil {
		hint = "set issuer.bucket in the first stage that binds a role in this cluster: it publishes the keys and registers the issuer"
	}
	if cloud.IsNotFound(err) {
		return &steps.Error{Code: "NoOIDCProvider", Category: steps.Precondition, Message: "IAM does not know the cluster's issuer " + s.issuer,
			Hints: []string{hint}}
	}
	return cloud.Explain(err)
}

// list is the role, what hangs on it, the service accounts, the proof that they work together, and the pods that must learn of it.
func (s *state) list() owned.List[state] {
	rs := append(s.published(), s.role())
	needs := []string{s.roleID()}
	if s.publishes() {
		needs = append(needs, s.providerID())
	}
	add := func(r resource) { rs, needs = append(rs, r), append(needs, r.ID()) }
	for _, arn := range s.spec.PolicyARNs {
		add(s.policy(arn))
	}
	for _, name := range slices.Sorted(maps.Keys(s.spec.InlinePolicies)) {
		add(s.inline(name, s.spec.InlinePolicies[name]))
	}
	for _, a := range s.spec.ServiceAccounts {
		if !a.Wildcard {
			add(s.account(a))
		}
	}
	var last []string
	if s.spec.PodIdentity {
		for _, a := range s.spec.ServiceAccounts {
			r := s.associated(a, needs)
			proof := s.podProof(a, []string{r.ID()})
			rs, last = append(rs, r, proof), append(last, proof.ID())
		}
	} else {
		r := s.proof(needs)
		rs, last = append(rs, r), append(last, r.ID())
	}
	for _, w := range s.spec.Restart {
		rs = append(rs, s.restarted(w, last))
	}
	return owned.List[state]{AWS: s.aws, Resources: rs, Report: s.env.Report}
}
