package cloud

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

func fixture(t *testing.T) *Session {
	t.Helper()
	cfg := aws.Config{Region: "ap-northeast-2", Credentials: credentials.NewStaticCredentialsProvider("REHEARSALFIXTURE0001", "rehearsal/fixture/secret/key/0000000001", "")}
	s, err := Open(t.Context(), Options{Config: &cfg})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEKSTokenIsAPresignedCallBoundToTheCluster(t *testing.T) {
	token, expires, err := fixture(t).EKSToken(t.Context(), "blog")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(token, "k8s-aws-v1."))
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(string(raw))
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	for key, want := range map[string]string{"Action": "GetCallerIdentity", "X-Amz-Expires": "60", "X-Amz-SignedHeaders": "host;x-k8s-aws-id"} {
		if q.Get(key) != want {
			t.Errorf("%s: got %q, want %q in %s", key, q.Get(key), want, u)
		}
	}
	if left := time.Until(expires); left < 13*time.Minute || left > 14*time.Minute {
		t.Errorf("token is said to live %s, want just under 14m", left)
	}
}
