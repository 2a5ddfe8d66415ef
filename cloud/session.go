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
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancing"
	elbv2 "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
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
	Prices     PriceTable   // nil: the built-in ones
}

// Session is one region's clients. It is safe for concurrent use.
type Session struct {
	Region string
	Speed  float64
	Config aws.Config
	Prices PriceTable

	// The clients, untyped on purpose. A Session is part of what steps hold, steps are held as interfaces, and
	// the linker keeps every method of every type that it can reach from there: 35 MB of calls that nobody makes (123.9 MB with the
	// typed fields, 89.1 MB without). The functions below give them back typed; nothing else may touch these fields.
	ec2, eks, iam, ssm, sts, quotas, elb, elbv2, logs, kms unsafe.Pointer

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

// EKS is the session's EKS client; see EC2.
func EKS(s *Session) *eks.Client { return (*eks.Client)(s.eks) }

// STS is the session's STS client; see EC2.
func STS(s *Session) *sts.Client { return (*sts.Client)(s.sts) }

// Quotas is the session's Service Quotas client; see EC2.
func Quotas(s *Session) *servicequotas.Client { return (*servicequotas.Client)(s.quotas) }

// ELB is the session's client of classic load balancers; see EC2.
func ELB(s *Session) *elb.Client { return (*elb.Client)(s.elb) }

// ELBv2 is the session's client of network and application load balancers; see EC2.
func ELBv2(s *Session) *elbv2.Client { return (*elbv2.Client)(s.elbv2) }

// Logs is the session's CloudWatch Logs client; see EC2.
func Logs(s *Session) *cloudwatchlogs.Client { return (*cloudwatchlogs.Client)(s.logs) }

// KMS is the session's KMS client; see EC2.
func KMS(s *Session) *kms.Client { return (*kms.Client)(s.kms) }
