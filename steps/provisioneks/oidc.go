package provisioneks

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/owned"
	"pipectl.dev/steps/reconcile"
)

const stsAudience = "sts.amazonaws.com"

// issuer is the cluster's token issuer, "" while there is none.
func (s *state) issuer() string {
	if s.cluster == nil || s.cluster.Identity == nil || s.cluster.Identity.Oidc == nil {
		return ""
	}
	return aws.ToString(s.cluster.Identity.Oidc.Issuer)
}

func (s *state) providerOf(issuer string) string {
	return "arn:" + s.caller.Partition + ":iam::" + s.caller.Account + ":oidc-provider/" + issuerHost(issuer)
}

// oidcProvider makes IAM trust the cluster's service account tokens. One that somebody else made does as well, and is not removed.
// No thumbprint is given: IAM fetches it itself and checks the issuer's certificate against its own list.
func oidcProvider(sp Spec) resource {
	return resource{
		Kind: kindOIDC, Name: sp.Name, Needs: []string{reconcile.ID(kindCluster, sp.Name)},
		Observe: func(ctx context.Context, s *state) (status, error) {
			if s.issuer() == "" {
				return absent, nil
			}
			arn := s.providerOf(s.issuer())
			o, err := cloud.IAM(s.aws).GetOpenIDConnectProvider(ctx, &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: &arn})
			if cloud.IsNotFound(err) {
				return absent, nil
			}
			if err != nil {
				return absent, err
			}
			s.providerARN, s.providerTags = arn, cloud.IAMTagMap(o.Tags)
			ours := cloud.Ours(s.providerTags, s.owner, kindOIDC, sp.Name)
			var d owned.Drift
			if !slices.Contains(o.ClientIDList, stsAudience) {
				d.Mend("clientIDs", o.ClientIDList, stsAudience)
			}
			return status{Exists: true, Ready: true, ID: arn, ARN: arn, Drift: d, Foreign: s.down && !ours}, nil
		},
		Create: func(ctx context.Context, s *state) error {
			in := &iam.CreateOpenIDConnectProviderInput{Url: aws.String(s.issuer()), ClientIDList: []string{stsAudience}, Tags: cloud.IAMTags(s.tags(kindOIDC, sp.Name))}
			// IAM asks the issuer, which a cluster that has just been made may not answer for yet.
			return s.aws.Retry(ctx, time.Minute, func(err error) bool { return cloud.Code(err) == "OpenIdIdpCommunicationError" }, func(ctx context.Context) error {
				_, err := cloud.IAM(s.aws).CreateOpenIDConnectProvider(ctx, in)
				if cloud.IsExists(err) {
					return nil
				}
				return err
			})
		},
		Update: func(ctx context.Context, s *state, _ []string) error {
			_, err := cloud.IAM(s.aws).AddClientIDToOpenIDConnectProvider(ctx, &iam.AddClientIDToOpenIDConnectProviderInput{
				OpenIDConnectProviderArn: &s.providerARN, ClientID: aws.String(stsAudience),
			})
			return err
		},
		Delete: func(ctx context.Context, s *state) error {
			_, err := cloud.IAM(s.aws).DeleteOpenIDConnectProvider(ctx, &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: &s.providerARN})
			return err
		},
	}
}

// staleProviders are our providers for this cluster whatever issuer they name: a cluster that is gone cannot tell its issuer, and
// one that was made again has a new one.
func (s *state) staleProviders(ctx context.Context) ([]string, error) {
	o, err := cloud.IAM(s.aws).ListOpenIDConnectProviders(ctx, &iam.ListOpenIDConnectProvidersInput{})
	if err != nil {
		return nil, err
	}
	var out []string
	for _, p := range o.OpenIDConnectProviderList {
		arn := aws.ToString(p.Arn)
		if !strings.Contains(arn, ":oidc-provider/oidc.eks."+s.aws.Region+".") {
			continue
		}
		t, err := cloud.IAM(s.aws).ListOpenIDConnectProviderTags(ctx, &iam.ListOpenIDConnectProviderTagsInput{OpenIDConnectProviderArn: &arn})
		if cloud.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if cloud.Ours(cloud.IAMTagMap(t.Tags), s.owner, kindOIDC, s.spec.Name) {
			out = append(out, arn)
		}
	}
	return out, nil
}
