package aws_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	emu "pipectl.dev/rehearsal/aws"
)

// oneTry keeps the SDK from retrying.
func oneTry(cfg aws.Config) aws.Config {
	cfg.Retryer = func() aws.Retryer { return aws.NopRetryer{} }
	return cfg
}

func TestRequestsWithBadCredentialsAreRefusedInEachServicesWords(t *testing.T) {
	expired := emu.AccessKey{ID: "ASIAEXPIRED", Secret: "s", Token: "t", Expires: time.Now().Add(-time.Minute)}
	keys := []emu.AccessKey{{ID: emu.FixtureAccessKey, Secret: emu.FixtureSecretKey}, expired}
	tests := map[string]struct {
		key                 aws.Credentials
		ec2, iam, eks, ssmc string
	}{
		"wrong secret":  {aws.Credentials{AccessKeyID: emu.FixtureAccessKey, SecretAccessKey: "no"}, "SignatureDoesNotMatch", "SignatureDoesNotMatch", "InvalidSignatureException", "InvalidSignatureException"},
		"unknown key":   {aws.Credentials{AccessKeyID: "AKIANOBODY", SecretAccessKey: "no"}, "AuthFailure", "InvalidClientTokenId", "UnrecognizedClientException", "UnrecognizedClientException"},
		"expired token": {aws.Credentials{AccessKeyID: "ASIAEXPIRED", SecretAccessKey: "s", SessionToken: "t"}, "RequestExpired", "ExpiredToken", "ExpiredTokenException", "ExpiredTokenException"},
		"foreign token": {aws.Credentials{AccessKeyID: "ASIAEXPIRED", SecretAccessKey: "s", SessionToken: "other"}, "AuthFailure", "InvalidClientTokenId", "UnrecognizedClientException", "UnrecognizedClientException"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cloud := emu.New(emu.Options{Access: keys})
			defer cloud.Close()
			c := connect(oneTry(config(cloud.RoundTripper(), tt.key)))
			_, e1 := c.ec2.DescribeVpcs(t.Context(), nil)
			_, e2 := c.iam.ListRoles(t.Context(), nil)
			_, e3 := c.eks.ListClusters(t.Context(), nil)
			_, e4 := c.ssm.GetParameter(t.Context(), &ssm.GetParameterInput{Name: aws.String("x")})
			got := []string{code(t, e1), code(t, e2), code(t, e3), code(t, e4)}
			if want := []string{tt.ec2, tt.iam, tt.eks, tt.ssmc}; !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

func TestASignatureFromAnotherHourIsRefused(t *testing.T) {
	cloud := emu.New(emu.Options{})
	defer cloud.Close()
	body := "Action=GetCallerIdentity&Version=2011-06-15"
	for name, tt := range map[string]struct {
		at     time.Time
		status int
	}{"now": {time.Now(), 200}, "an hour ago": {time.Now().Add(-time.Hour), 403}, "an hour ahead": {time.Now().Add(time.Hour), 403}} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://sts.rehearsal.invalid/", strings.NewReader(body))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if err := v4.NewSigner().SignHTTP(t.Context(), fixture, req, sha(body), "sts", emu.FixtureRegion, tt.at); err != nil {
			t.Fatal(err)
		}
		out := must(cloud.RoundTripper().RoundTrip(req))(t)
		if out.StatusCode != tt.status {
			b, _ := io.ReadAll(out.Body)
			t.Errorf("signed %s: got %d, want %d: %s", name, out.StatusCode, tt.status, b)
		}
	}
}

func TestAnUnsignedRequestIsRefused(t *testing.T) {
	cloud := emu.New(emu.Options{})
	defer cloud.Close()
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://ec2.rehearsal.invalid/", strings.NewReader("Action=DescribeVpcs&Version=2016-11-15"))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	out := must(cloud.RoundTripper().RoundTrip(req))(t)
	b, _ := io.ReadAll(out.Body)
	if out.StatusCode != 403 || !bytes.Contains(b, []byte("MissingAuthenticationToken")) {
		t.Errorf("got %d %s", out.StatusCode, b)
	}
}

// eksToken presigns GetCallerIdentity as `aws eks get-token` does.
func eksToken(ctx context.Context, c clients, cluster string, at time.Time) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://sts.ap-northeast-2.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Expires=60", nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("X-K8s-Aws-Id", cluster)
	key, err := c.cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return "", err
	}
	signed, _, err := v4.NewSigner().PresignHTTP(ctx, key, req, sha(""), "sts", emu.FixtureRegion, at)
	return "k8s-aws-v1." + base64.RawURLEncoding.EncodeToString([]byte(signed)), err
}

type review struct {
	Status struct {
		Authenticated bool
		Error         string
		User          struct {
			Username string
			Groups   []string
		}
	}
}

func reviewOf(t *testing.T, cloud *emu.Cloud, cluster, token string) review {
	t.Helper()
	body, _ := json.Marshal(map[string]any{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": map[string]string{"token": token}})
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://emulator/_pipectl/tokenreview?cluster="+url.QueryEscape(cluster), bytes.NewReader(body))
	out := must(cloud.RoundTripper().RoundTrip(req))(t)
	var r review
	if err := json.NewDecoder(out.Body).Decode(&r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestEKSTokensAreMappedThroughAccessEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		viewer := emu.AccessKey{ID: "AKIAVIEWER", Secret: "v", Principal: "arn:aws:iam::111122223333:user/viewer"}
		cloud, c := start(t, emu.Options{Durations: nolag, Access: []emu.AccessKey{{ID: emu.FixtureAccessKey, Secret: emu.FixtureSecretKey}, viewer}})
		s := &stack{clients: c, ctx: t.Context()}
		s.network(t)
		s.cluster(t)
		poll(t, "cluster", func() (bool, error) { return s.status(t) == "ACTIVE", nil })

		token := must(eksToken(t.Context(), c, "blog", time.Now()))(t)
		got := reviewOf(t, cloud, "blog", token)
		if !got.Status.Authenticated || !slices.Contains(got.Status.User.Groups, "system:masters") || got.Status.User.Username != "arn:aws:iam::111122223333:user/rehearsal" {
			t.Errorf("the creator: got %+v", got.Status)
		}
		if got := reviewOf(t, cloud, "other", token); got.Status.Authenticated {
			t.Errorf("a token for another cluster was accepted: %+v", got.Status)
		}
		old := must(eksToken(t.Context(), c, "blog", time.Now().Add(-20*time.Minute)))(t)
		if got := reviewOf(t, cloud, "blog", old); got.Status.Authenticated {
			t.Error("a token of twenty minutes ago was accepted")
		}
		v := connect(config(cloud.RoundTripper(), aws.Credentials{AccessKeyID: viewer.ID, SecretAccessKey: viewer.Secret}))
		theirs := must(eksToken(t.Context(), v, "blog", time.Now()))(t)
		if got := reviewOf(t, cloud, "blog", theirs); got.Status.Authenticated {
			t.Error("a principal without an access entry was accepted")
		}
		must(c.eks.CreateAccessEntry(t.Context(), &eks.CreateAccessEntryInput{ClusterName: aws.String("blog"), PrincipalArn: &viewer.Principal, KubernetesGroups: []string{"viewers"}}))(t)
		if got := reviewOf(t, cloud, "blog", theirs); !got.Status.Authenticated || !slices.Contains(got.Status.User.Groups, "viewers") || slices.Contains(got.Status.User.Groups, "system:masters") {
			t.Errorf("the viewer: got %+v", got.Status)
		}
	})
}

func TestAssumeRoleWithWebIdentityAnswersAsSTSDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		world := emu.NewStandIn()
		_, c := start(t, emu.Options{World: world, Durations: nolag})
		s := &stack{clients: c, ctx: t.Context()}
		s.network(t)
		s.cluster(t)
		poll(t, "cluster", func() (bool, error) { return s.status(t) == "ACTIVE", nil })
		claims := func(change map[string]any) map[string]any {
			now := time.Now()
			out := map[string]any{"iss": s.issuer, "sub": "system:serviceaccount:kube-system:ebs-csi-controller-sa", "aud": []string{"sts.amazonaws.com"}, "exp": now.Add(time.Minute).Unix()}
			for k, v := range change {
				out[k] = v
			}
			return out
		}
		assume := func(role string, token string) error {
			_, err := c.sts.AssumeRoleWithWebIdentity(t.Context(), &sts.AssumeRoleWithWebIdentityInput{RoleArn: &role, RoleSessionName: aws.String("s"), WebIdentityToken: &token})
			return err
		}
		good := must(world.Sign(claims(nil)))(t)
		if err := assume("arn:aws:iam::111122223333:role/blog-ebs-csi", good); err == nil || !strings.Contains(err.Error(), "No OpenIDConnect provider found in your account") {
			t.Errorf("without a provider: got %v", err)
		}
		s.irsa(t)
		if got := code(t, assume(s.irsaRole, good)); got != "AccessDenied" {
			t.Errorf("a role that has not propagated: got %q", got)
		}
		host := strings.TrimPrefix(s.issuer, "https://")
		like := s.role(t, "like", irsaTrust(s.provider, host, "StringLike", "system:serviceaccount:kube-*:ebs-*"))
		equals := s.role(t, "equals", irsaTrust(s.provider, host, "StringEquals", "system:serviceaccount:kube-system:*"))
		time.Sleep(11 * time.Second)
		for name, tt := range map[string]struct {
			role, want string
			claims     map[string]any
		}{
			"the right service account":  {s.irsaRole, "", nil},
			"another service account":    {s.irsaRole, "AccessDenied", map[string]any{"sub": "system:serviceaccount:default:x"}},
			"another audience":           {s.irsaRole, "InvalidIdentityToken", map[string]any{"aud": []string{"kubernetes"}}},
			"an expired token":           {s.irsaRole, "ExpiredTokenException", map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}},
			"StringLike with a star":     {like, "", nil},
			"StringEquals with a star":   {equals, "AccessDenied", nil},
			"a role that does not exist": {"arn:aws:iam::111122223333:role/none", "AccessDenied", nil},
			"an issuer of nobody":        {s.irsaRole, "InvalidIdentityToken", map[string]any{"iss": "https://oidc.eks.ap-northeast-2.amazonaws.com/id/OTHER"}},
		} {
			if got := code(t, assume(tt.role, must(world.Sign(claims(tt.claims)))(t))); got != tt.want {
				t.Errorf("%s: got %q, want %q", name, got, tt.want)
			}
		}
		other := emu.NewStandIn()
		if err := other.Rotate(); err != nil {
			t.Fatal(err)
		}
		forged := must(other.Sign(claims(nil)))(t)
		if got := code(t, assume(s.irsaRole, forged)); got != "InvalidIdentityToken" {
			t.Errorf("a token of another key: got %q", got)
		}
	})
}

func TestAPrincipalWithAnActionListIsRefusedTheRest(t *testing.T) {
	who := "arn:aws:iam::111122223333:user/rehearsal"
	_, c := start(t, emu.Options{Policies: map[string][]string{who: {"ec2:Describe*", "iam:GetRole"}}})
	must(c.ec2.DescribeVpcs(t.Context(), nil))(t)
	_, err := c.ec2.CreateVpc(t.Context(), &ec2.CreateVpcInput{CidrBlock: aws.String("10.0.0.0/16")})
	if got := code(t, err); got != "UnauthorizedOperation" || !strings.Contains(err.Error(), "ec2:CreateVpc") {
		t.Errorf("got %v", err)
	}
	_, err = c.iam.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: aws.String("r"), AssumeRolePolicyDocument: trust("eks.amazonaws.com")})
	if got := code(t, err); got != "AccessDenied" || !strings.Contains(err.Error(), "iam:CreateRole") {
		t.Errorf("got %v", err)
	}
	_, err = c.eks.ListClusters(t.Context(), nil)
	if got := code(t, err); got != "AccessDeniedException" {
		t.Errorf("got %v", err)
	}
}
