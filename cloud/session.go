// Package cloud is pipectl's way to AWS: one Session per region with concrete SDK clients, owner tags, the meaning of errors, waiting,
// EKS tokens, the lock and prices.
//
// It must not know any step, decide what should exist, or put an SDK client into an interface: the linker then keeps every method of it.
package cloud

import (
	"context"
	"net/http"
	"unsafe"

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

	EKS    *eks.Client
	STS    *sts.Client
	Quotas *servicequotas.Client

	// The clients of the largest services, untyped on purpose. A Session is part of what steps hold, steps are held as interfaces, and
	// the linker keeps every method of every type that it can reach from there: 35 MB of calls that nobody makes (123.9 MB with the
	// typed fields, 89.1 MB without). EC2, IAM and SSM give them back typed; nothing else may touch these fields.
	ec2, iam, ssm unsafe.Pointer

	caller *callerOnce
}

// Opener returns the session of a region ("" is the default region of the environment), opened on first use.
type Opener func(ctx context.Context, region string) (*Session, error)

// EC2 is the session's EC2 client. A function, not a method: a method would bring the type back into the linker's reach.
func EC2(s *Session) *ec2.Client { return (*ec2.Client)(s.ec2) }

// IAM is the session's IAM client; see EC2.
func IAM(s *Session) *iam.Client { return (*iam.Client)(s.iam) }

// SSM is the session's SSM client; see EC2.
func SSM(s *Session) *ssm.Client { return (*ssm.Client)(s.ssm) }
