package cloud_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"pipectl.dev/cloud"
)

// TestATokenOfAServiceAccountIsReadAgain: the kubelet writes a new token into the file long before the old one expires; a run that takes
// longer than either, such as a long copy, goes on with what is there when its credentials end.
func TestATokenOfAServiceAccountIsReadAgain(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, r.FormValue("WebIdentityToken"))
		fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>A%d</AccessKeyId>`+
			`<SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`,
			len(seen), time.Now().Add(-time.Second).UTC().Format(time.RFC3339)) // they have ended by the next call
	}))
	defer sts.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "token")
	for key, value := range map[string]string{
		"HOME": dir, "AWS_ENDPOINT_URL_STS": sts.URL, "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/pipectl", "AWS_WEB_IDENTITY_TOKEN_FILE": file,
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_PROFILE": "", "AWS_CONFIG_FILE": filepath.Join(dir, "none"), "AWS_SHARED_CREDENTIALS_FILE": filepath.Join(dir, "none"),
	} {
		t.Setenv(key, value)
	}
	write := func(token string) {
		if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	s, err := cloud.Open(t.Context(), cloud.Options{Region: "ap-northeast-2", Speed: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{"first", "second"} {
		write(token)
		if _, err := s.Config.Credentials.Retrieve(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(seen, []string{"first", "second"}) {
		t.Errorf("tokens sent: %q", seen)
	}
}
