package cloud

import (
	"context"
	"encoding/base64"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// tokenLife is how long EKS accepts a token after it was signed; we hand it out for a minute less.
const tokenLife = 15 * time.Minute

// EKSToken makes a bearer token for cluster: a presigned GetCallerIdentity, which EKS sends to STS to learn who we are.
// Nothing is sent anywhere here. expires is a minute before EKS stops accepting it.
func (s *Session) EKSToken(ctx context.Context, cluster string) (token string, expires time.Time, err error) {
	signed := time.Now()
	presign := sts.NewPresignClient(STS(s), func(o *sts.PresignOptions) {
		o.Presigner = clusterPresigner{cluster: cluster, next: v4.NewSigner()}
	})
	req, err := presign.PresignGetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return "", time.Time{}, Explain(err)
	}
	token = "k8s-aws-v1." + base64.RawURLEncoding.EncodeToString([]byte(req.URL))
	return token, signed.Add(tokenLife - time.Minute), nil
}

// clusterPresigner binds a presigned request to one cluster, so that a token for one is worth nothing at another.
type clusterPresigner struct {
	cluster string
	next    sts.HTTPPresignerV4
}

func (p clusterPresigner) PresignHTTP(ctx context.Context, c aws.Credentials, r *http.Request, hash, service, region string, at time.Time, opts ...func(*v4.SignerOptions)) (string, http.Header, error) {
	r.Header.Set("x-k8s-aws-id", p.cluster)
	q := r.URL.Query()
	q.Set("X-Amz-Expires", "60") // what EKS's authenticator demands; the token itself lives for 15 minutes
	r.URL.RawQuery = q.Encode()
	return p.next.PresignHTTP(ctx, c, r, hash, service, region, at, opts...)
}
