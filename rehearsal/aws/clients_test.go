package aws_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	emu "pipectl.dev/rehearsal/aws"
)

// clients are the unmodified SDK clients against one Cloud.
type clients struct {
	ec2    *ec2.Client
	eks    *eks.Client
	iam    *iam.Client
	sts    *sts.Client
	ssm    *ssm.Client
	quotas *servicequotas.Client
	cfg    aws.Config
}

type fixed aws.Credentials

func (f fixed) Retrieve(context.Context) (aws.Credentials, error) { return aws.Credentials(f), nil }

func config(transport http.RoundTripper, key aws.Credentials) aws.Config {
	return aws.Config{
		Region: emu.FixtureRegion, Credentials: fixed(key), HTTPClient: &http.Client{Transport: transport},
		BaseEndpoint: aws.String("https://aws.rehearsal.invalid"),
	}
}

func connect(cfg aws.Config) clients {
	return clients{ec2: ec2.NewFromConfig(cfg), eks: eks.NewFromConfig(cfg), iam: iam.NewFromConfig(cfg), sts: sts.NewFromConfig(cfg),
		ssm: ssm.NewFromConfig(cfg), quotas: servicequotas.NewFromConfig(cfg), cfg: cfg}
}

var fixture = aws.Credentials{AccessKeyID: emu.FixtureAccessKey, SecretAccessKey: emu.FixtureSecretKey}

// start makes a Cloud and clients in process.
func start(t *testing.T, opt emu.Options) (*emu.Cloud, clients) {
	t.Helper()
	c := emu.New(opt)
	t.Cleanup(c.Close)
	return c, connect(config(c.RoundTripper(), fixture))
}

// code is the API error's code, or "" without an error.
func code(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	var api smithy.APIError
	if !errors.As(err, &api) {
		t.Fatalf("not an API error: %v", err)
	}
	return api.ErrorCode()
}

// must returns v and ends the test on an error.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// poll waits in five-second steps until done says so, for at most an hour.
func poll(t *testing.T, what string, done func() (bool, error)) time.Duration {
	t.Helper()
	began := time.Now()
	for time.Since(began) < time.Hour {
		ok, err := done()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if ok {
			return time.Since(began)
		}
		time.Sleep(5 * time.Second)
	}
	t.Fatalf("%s: not done after an hour", what)
	return 0
}

func sha(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// asType finds an error of a type in the chain.
func asType[T error](err error) (T, bool) {
	var e T
	return e, errors.As(err, &e)
}
