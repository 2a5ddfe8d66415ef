// Package cloud is pipectl's way to AWS: one Session per region with concrete SDK clients, owner tags, the meaning of errors, waiting,
// EKS tokens, the lock and prices.
//
// It must not know any step, decide what should exist, or put an SDK client into an interface: the linker then keeps every method of it.
package cloud

import (
	"context"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// Options says how to reach AWS. The zero value is the default credential chain and the real endpoints (AWS_ENDPOINT_URL is honoured).
type Options struct {
	Region     string
	HTTPClient *http.Client // nil: the SDK's own; tests give an emulator's RoundTripper
	Speed      float64      // how many times faster than real the cloud runs: 1 but in a rehearsal
	Config     *aws.Config  // nil: loaded from environment and files; tests give static credentials
}

// Session is one region's clients. It is safe for concurrent use.
type Session struct {
	Region string
	Speed  float64
	Config aws.Config

	EC2    *ec2.Client
	EKS    *eks.Client
	IAM    *iam.Client
	STS    *sts.Client
	SSM    *ssm.Client
	Quotas *servicequotas.Client

	caller *callerOnce
}

// Opener returns the session of a region ("" is the default region of the environment), opened on first use.
type Opener func(ctx context.Context, region string) (*Session, error)
