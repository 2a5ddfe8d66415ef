package bindirsa

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/owned"
	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

// spread is how long IAM may take until a new role, policy or provider is known everywhere.
const spread = time.Minute

// tagProven, on the role, says for what trust, on which issuer, the proof was given: a run that was cut off before its proof gives it
// later, and one that changes nothing need not give it again.
const tagProven = "pipectl.dev/proven"

func (s *state) digest() string { return cloud.ClientToken(s.trust(), s.roleARN) }

// proof is a resource like any other: it is there when the role's tag says so, and made by proving.
func (s *state) proof(needs []string) resource {
	return resource{
		Kind: kindProof, Name: s.name(), Needs: needs,
		Observe: func(_ context.Context, s *state) (status, error) {
			if s.proven == "" {
				return status{}, nil
			}
			var d owned.Drift
			if s.proven != s.digest() || s.rekeyed {
				d.Mend("proof", "that of an earlier trust policy", "a new one")
			}
			return status{Exists: true, Ready: true, ID: s.name(), Drift: d}, nil
		},
		Create: func(ctx context.Context, s *state) error { return s.prove(ctx) },
		Update: func(ctx context.Context, s *state, _ []string) error { return s.prove(ctx) },
	}
}

// prove takes the role on as every service account would, and must fail to as a foreign one. Nothing else shows that a binding works:
// each of its parts can be right by itself.
func (s *state) prove(ctx context.Context) error {
	for _, a := range s.spec.ServiceAccounts {
		w, found, err := s.witness(ctx, a)
		if err != nil {
			return err
		}
		if !found {
			s.env.Note("no service account matches " + a.String() + " yet: that it is admitted was not proven")
			continue
		}
		if err := s.proveOwn(ctx, w); err != nil {
			return fmt.Errorf("%s: %w", w, err)
		}
	}
	foreign := s.foreigner()
	if err := s.proveForeign(ctx, foreign); err != nil {
		return fmt.Errorf("%s: %w", foreign, err)
	}
	role := s.name()
	_, err := cloud.IAM(s.aws).TagRole(ctx, &iam.TagRoleInput{RoleName: &role, Tags: cloud.IAMTags(map[string]string{tagProven: s.digest()})})
	if err == nil {
		s.proven, s.rekeyed = s.digest(), false
	}
	return err
}

func (s *state) proveOwn(ctx context.Context, a ServiceAccount) error {
	token, err := s.token(ctx, a)
	if err != nil {
		return err
	}
	var out *sts.AssumeRoleWithWebIdentityOutput
	err = s.aws.Retry(ctx, spread, settling, func(ctx context.Context) error {
		out, err = s.assume(ctx, token)
		return err
	})
	if err != nil {
		return s.remedy(err)
	}
	c := out.Credentials
	return s.giveRole(ctx, aws.ToString(c.AccessKeyId), aws.ToString(c.SecretAccessKey), aws.ToString(c.SessionToken))
}

// giveRole checks that credentials which a token gave are those of the role.
func (s *state) giveRole(ctx context.Context, id, secret, session string) error {
	as := sts.NewFromConfig(s.aws.Config, func(o *sts.Options) {
		o.Credentials = credentials.NewStaticCredentialsProvider(id, secret, session)
	})
	who, err := as.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return cloud.Explain(err)
	}
	if !strings.Contains(aws.ToString(who.Arn), ":assumed-role/"+s.name()+"/") {
		return &steps.Error{Code: "WrongRole", Category: steps.Verification, Message: "its token gives " + aws.ToString(who.Arn)}
	}
	return nil
}

func (s *state) proveForeign(ctx context.Context, a ServiceAccount) error {
	token, err := s.token(ctx, a)
	if err != nil {
		return err
	}
	_, err = s.assume(ctx, token)
	switch {
	case err == nil:
		return &steps.Error{Code: "TrustTooWide", Category: steps.Verification, Message: "it may take on " + s.name() + ", and must not",
			Hints: []string{"look at the role's trust policy: another tool may have changed it; run again to put it right"}}
	case cloud.Code(err) == "AccessDenied":
		return nil
	default:
		return remedied(remedies, err)
	}
}

func (s *state) foreigner() ServiceAccount {
	a, _ := foreigner(s.spec.ServiceAccounts) // Validate has seen to it
	return a
}

// witness is a service account that is there to prove an entry with: itself, or the first that a wildcard matches.
func (s *state) witness(ctx context.Context, a ServiceAccount) (ServiceAccount, bool, error) {
	if !a.Wildcard {
		return a, true, nil
	}
	namespace := a.Namespace
	if wild(namespace) {
		namespace = metav1.NamespaceAll
	}
	list, err := s.kube.Typed.CoreV1().ServiceAccounts(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return a, false, kube.Explain(err)
	}
	for _, sa := range list.Items {
		if b := (ServiceAccount{Namespace: sa.Namespace, Name: sa.Name}); a.matches(b) {
			return b, true, nil
		}
	}
	return a, false, nil
}

func (s *state) token(ctx context.Context, a ServiceAccount) (string, error) {
	token, _, err := s.kube.ServiceAccountToken(ctx, a.Namespace, a.Name, []string{audience}, 10*time.Minute)
	return token, err
}

func (s *state) assume(ctx context.Context, token string) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	return cloud.STS(s.aws).AssumeRoleWithWebIdentity(ctx, &sts.AssumeRoleWithWebIdentityInput{
		RoleArn: &s.roleARN, RoleSessionName: aws.String("pipectl-proof"), WebIdentityToken: &token, DurationSeconds: aws.Int32(900),
	})
}

// settling are the errors that a right binding gives while IAM is still spreading it.
func settling(err error) bool {
	return slices.Contains([]string{"AccessDenied", "InvalidIdentityToken", "IDPCommunicationError"}, cloud.Code(err)) || cloud.IsNotFound(err)
}
