package bindirsa

import (
	"bytes"
	"context"
	"net/url"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/owned"
	"pipectl.dev/steps"
	"pipectl.dev/steps/reconcile"
)

// publishes reports whether this use of the step makes the issuer known, and does not only rely on it.
func (s *state) publishes() bool { return s.spec.Issuer != nil && s.spec.Issuer.Bucket != "" }

// published are the issuer's two objects and its OIDC provider in IAM, which comes last: IAM may look at the objects.
func (s *state) published() []resource {
	if !s.publishes() {
		return s.relied()
	}
	keys := s.object(keysPath)
	doc := s.object(discoveryPath, keys.ID())
	return []resource{keys, doc, s.provider(keys.ID(), doc.ID())}
}

// relied is the issuer that another stage or tool publishes. It stands in the plan, so that nobody takes it for one without a use.
func (s *state) relied() []resource {
	if s.spec.Issuer == nil || s.down {
		return nil
	}
	r := s.provider()
	see := r.Observe
	r.Create, r.Update, r.Delete = func(ctx context.Context, s *state) error { return s.providerExists(ctx) }, nil, nil
	r.Observe = func(ctx context.Context, s *state) (status, error) {
		st, err := see(ctx, s)
		st.Drift = nil // the publisher's business
		return st, err
	}
	return []resource{r}
}

// object is one of the two documents in the bucket. One that somebody else wrote does as well while it says the same; it is neither
// changed nor removed.
func (s *state) object(path string, needs ...string) resource {
	i := s.spec.Issuer
	key, bucket := i.key(s.region(), path), s.aws.Bucket(i.Bucket, "")
	var etag string
	write := func(ctx context.Context, s *state) error {
		want, err := s.documents.Get(ctx, "write "+path)
		if err != nil {
			return err
		}
		err = bucket.PutOwned(ctx, key, want[path], etag, s.owner)
		if cloud.IsRaced(err) { // our own call, sent twice after a lost answer, or somebody who wrote the same
			if have, _, _, again := bucket.GetOwned(ctx, key); again == nil && bytes.Equal(have, want[path]) {
				return nil
			}
		}
		return s.explainBucket(err)
	}
	return resource{
		Kind: kindObject, Name: i.Bucket + "/" + key, Needs: needs, Create: write,
		Update: func(ctx context.Context, s *state, _ []string) error {
			s.rekeyed = true // proof waits for all that is published
			return write(ctx, s)
		},
		Delete: func(ctx context.Context, _ *state) error { return bucket.Delete(ctx, key) },
		Observe: func(ctx context.Context, s *state) (status, error) {
			have, tag, owner, err := bucket.GetOwned(ctx, key)
			etag = tag
			if cloud.IsNotFound(err) || s.down && cloud.IsNoBucket(err) {
				return status{}, nil
			}
			if err != nil {
				return status{}, s.explainBucket(err)
			}
			st := status{Exists: true, Ready: true, ID: key, Foreign: s.down && owner != s.owner}
			if s.down {
				return st, nil
			}
			want, err := s.documents.Get(ctx, "see "+path)
			if err != nil {
				return st, err
			}
			st.Drift = differs(path, have, want[path])
			st.Foreign = len(st.Drift) > 0 && owner != s.owner
			return st, nil
		},
	}
}

// differs compares what is published with what should be: keys by their ids first, since a token names its key by it.
func differs(path string, have, want []byte) []string {
	var d owned.Drift
	switch {
	case bytes.Equal(have, want):
	case path == keysPath && !slices.Equal(kids(have), kids(want)):
		d.Mend("kid", kids(have), kids(want))
	default:
		d.Mend("content", "another document", "that of the API server's keys")
	}
	return d
}

// provider makes IAM trust the issuer. One that is there already does as well, and is then not removed.
func (s *state) provider(needs ...string) resource {
	return resource{
		Kind: kindProvider, Name: s.providerName(), Needs: needs,
		Observe: func(ctx context.Context, s *state) (status, error) {
			arn := s.providerARN()
			o, err := cloud.IAM(s.aws).GetOpenIDConnectProvider(ctx, &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: &arn})
			if cloud.IsNotFound(err) {
				return status{}, nil
			}
			if err != nil {
				return status{}, err
			}
			var d owned.Drift
			if !slices.Contains(o.ClientIDList, audience) {
				d.Mend("clientIDs", o.ClientIDList, audience)
			}
			foreign := s.down && !cloud.Ours(cloud.IAMTagMap(o.Tags), s.owner, kindProvider, s.providerName())
			return status{Exists: true, Ready: true, ID: arn, ARN: arn, Drift: d, Foreign: foreign}, nil
		},
		Create: func(ctx context.Context, s *state) error {
			_, err := cloud.IAM(s.aws).CreateOpenIDConnectProvider(ctx, &iam.CreateOpenIDConnectProviderInput{
				Url: aws.String(s.issuerURL()), ClientIDList: []string{audience}, Tags: cloud.IAMTags(cloud.Tags(s.owner, kindProvider, s.providerName())),
			})
			switch {
			case cloud.IsExists(err):
				return nil
			case cloud.Code(err) == "OpenIdIdpCommunicationError":
				return &steps.Error{Code: "IssuerNotPublic", Category: steps.Precondition, Err: cloud.Explain(err), Hints: []string{s.publicly()}}
			}
			return err
		},
		Update: func(ctx context.Context, s *state, _ []string) error {
			_, err := cloud.IAM(s.aws).AddClientIDToOpenIDConnectProvider(ctx, &iam.AddClientIDToOpenIDConnectProviderInput{
				OpenIDConnectProviderArn: aws.String(s.providerARN()), ClientID: aws.String(audience),
			})
			return err
		},
		Delete: func(ctx context.Context, s *state) error {
			_, err := cloud.IAM(s.aws).DeleteOpenIDConnectProvider(ctx, &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: aws.String(s.providerARN())})
			return err
		},
	}
}

func (s *state) providerID() string { return reconcile.ID(kindProvider, s.providerName()) }

// publishedIn parts an issuer from the bucket that it is published in, where its URL does not tell.
const publishedIn = " in "

// providerName is the issuer, and the bucket where that is not in it: once the stage left the file nothing else tells what to empty.
func (s *state) providerName() string {
	u, err := url.Parse("https://" + s.issuer)
	if !s.publishes() || err != nil || pathStyle(u) {
		return s.issuer
	}
	return s.issuer + publishedIn + s.spec.Issuer.Bucket
}
