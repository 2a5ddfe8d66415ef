package results

import (
	"bytes"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"pipectl.dev/cloud"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
)

func TestABucketSurvivesWhatANetworkDoes(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"throttle*3", "500*2", "lost-response*2", "reset*2"} {
		for _, action := range []string{"PutObject", "GetObject", "ListObjectsV2"} {
			t.Run(action+" "+kind, func(t *testing.T) {
				t.Parallel()
				faults, err := emulator.ParseFaults("s3:" + action + "=" + kind)
				if err != nil {
					t.Fatal(err)
				}
				_, session := account(t, emulator.Options{Faults: faults})
				s := NewBucket(session(emulator.FixtureRegion), Place{Bucket: "stages"}, blog)
				for i := range 3 {
					if err := s.Append(t.Context(), "r1", fmt.Appendf(nil, `{"n":%d}`, i)); err != nil {
						t.Fatal(err)
					}
				}
				if err := s.Put(t.Context(), sample("home")); err != nil {
					t.Fatal(err)
				}
				lines, err := s.Journal(t.Context(), "r1")
				if err != nil || len(lines) != 3 {
					t.Errorf("a line is missing, or written twice: %s, %v", lines, err)
				}
				if l, err := s.List(t.Context()); err != nil || len(l) != 1 {
					t.Errorf("list: %v, %v", l, err)
				}
			})
		}
	}
}

func TestABucketIsFoundInItsRegionAndOverHTTP(t *testing.T) {
	c, session := account(t, emulator.Options{})
	far := NewBucket(session("eu-central-1"), Place{Bucket: "stages", Prefix: "p"}, blog)
	if err := far.Put(t.Context(), sample("home")); err != nil {
		t.Errorf("from another region: %v", err)
	}
	l, err := far.List(t.Context())
	if err != nil || len(l) != 1 {
		t.Errorf("%v, %v", l, err)
	}
	// As in a rehearsal: another endpoint, and the bucket in the path.
	srv := httptest.NewServer(c)
	t.Cleanup(srv.Close)
	t.Setenv("AWS_ENDPOINT_URL_S3", srv.URL)
	cfg := aws.Config{Region: emulator.FixtureRegion, Credentials: credentials.NewStaticCredentialsProvider(emulator.FixtureAccessKey, emulator.FixtureSecretKey, "")}
	wire, err := cloud.Open(t.Context(), cloud.Options{Config: &cfg, Speed: 100})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := NewBucket(wire, Place{Bucket: "stages", Prefix: "p"}, blog).Get(t.Context(), "home"); err != nil || got == nil {
		t.Errorf("bucket in the path: %v, %v", got, err)
	}
}

func TestResultsInABucketAreEncrypted(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]string{"": "AES256", "alias/results": "aws:kms"} {
		c, session := account(t, emulator.Options{})
		s := NewBucket(session(emulator.FixtureRegion), Place{Bucket: "stages", Prefix: "p", KMSKey: key}, blog)
		for range 2 {
			if err := s.Put(t.Context(), sample("home")); err != nil {
				t.Fatal(err)
			}
		}
		if o := c.Objects("stages")["p/home.json"]; o.Encryption != want || o.KMSKey != key {
			t.Errorf("key %q: %s %s", key, o.Encryption, o.KMSKey)
		}
	}
}

func TestWhatS3RefusesIsSaidWithAHint(t *testing.T) {
	t.Parallel()
	denied, err := emulator.ParseFaults("s3:GetObject=access-denied*all")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		o          emulator.Options
		bucket     string
		code, hint string
		category   steps.Category
	}{
		"no such bucket": {emulator.Options{}, "elsewhere", "NoBucket", "aws s3 mb s3://elsewhere", steps.Precondition},
		"no permission":  {emulator.Options{Faults: denied}, "stages", "AccessDenied", "allow the action s3:GetObject", steps.Permission},
		"unknown key":    {emulator.Options{Access: []emulator.AccessKey{{ID: "SOMEBODYELSE00000001", Secret: "x"}}}, "stages", "InvalidAccessKeyId", "AWS_PROFILE", steps.Credentials},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, session := account(t, c.o)
			s := NewBucket(session(emulator.FixtureRegion), Place{Bucket: c.bucket}, blog)
			err := s.Put(t.Context(), sample("home"))
			if e := steps.Classify(err); e == nil || e.Code != c.code || e.Category != c.category || !strings.Contains(strings.Join(e.Hints, " "), c.hint) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestWhatIsTooLargeForABucketIsRefused(t *testing.T) {
	t.Parallel()
	_, session := account(t, emulator.Options{})
	s := NewBucket(session(emulator.FixtureRegion), Place{Bucket: "stages", Prefix: "p"}, blog)
	if err := s.Put(t.Context(), sample("home")); err != nil {
		t.Fatal(err)
	}
	s.limit = 2000
	r := sample("home")
	r.Outputs = []byte(`{"text":"` + strings.Repeat("y", 2000) + `"}`)
	err := s.Put(t.Context(), r)
	if e := steps.Classify(err); e == nil || e.Code != "ResultTooLarge" || e.Category != steps.Precondition || !strings.Contains(err.Error(), "home.json would have") || len(e.Hints) == 0 {
		t.Errorf("put: %v", err)
	}
	if got, err := s.Get(t.Context(), "home"); err != nil || got == nil || len(got.Outputs) > 1000 {
		t.Errorf("what was there is kept: %v, %v", got, err)
	}
	if err := s.Append(t.Context(), "r", bytes.Repeat([]byte("x"), 2000)); steps.Classify(err).Code != "ResultTooLarge" {
		t.Errorf("append: %v", err)
	}
	// An object of somebody else, one byte more than is read.
	if _, err := session(emulator.FixtureRegion).Bucket("stages", "").Put(t.Context(), "p/huge.json", make([]byte, cloud.MaxObject+1), ""); err != nil {
		t.Fatal(err)
	}
	_, err = s.Get(t.Context(), "huge")
	if e := steps.Classify(err); e.Code != "ObjectTooLarge" || e.Category != steps.Precondition || !strings.Contains(err.Error(), "p/huge.json is larger than 64 MiB") {
		t.Errorf("get: %v", err)
	}
}

func TestTheBucketKeepsTheNewestRuns(t *testing.T) {
	t.Parallel()
	c, session := account(t, emulator.Options{})
	s := NewBucket(session(emulator.FixtureRegion), Place{Bucket: "stages"}, blog)
	for i := range bucketRuns + 3 {
		if err := s.Append(t.Context(), fmt.Sprintf("run%04d", i), []byte(`{}`)); err != nil {
			t.Fatal(err)
		}
	}
	if runs, err := s.Runs(t.Context()); err != nil || len(runs) != bucketRuns || runs[0] != "run0003" {
		t.Errorf("%d runs, %v", len(runs), err)
	}
	if n := len(c.Objects("stages")); n != bucketRuns {
		t.Errorf("%d objects", n)
	}
}
