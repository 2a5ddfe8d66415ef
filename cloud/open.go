package cloud

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
	"unsafe"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
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
	"github.com/aws/smithy-go/logging"

	"pipectl.dev/steps"
)

// Open makes the clients of one region. It makes no AWS call; credentials are resolved per call, so that a refreshed one is used.
func Open(ctx context.Context, o Options) (*Session, error) {
	speed, err := o.speed()
	if err != nil {
		return nil, err
	}
	cfg, err := o.config(ctx)
	if err != nil {
		return nil, err
	}
	if cfg.Region == "" {
		return nil, &steps.Error{Code: "NoRegion", Category: steps.BadInput, Message: "aws: no region",
			Hints: []string{"set `region` in the pipeline's spec, or AWS_REGION"}}
	}
	if o.Prices == nil {
		if o.Prices, err = Prices(); err != nil {
			return nil, err
		}
	}
	cfg.APIOptions = append(cfg.APIOptions, tellStep)
	cfg.Retryer = func() aws.Retryer { return newRetryer(speed) }
	return &Session{
		Region: cfg.Region, Speed: speed, Config: cfg, Prices: o.Prices,
		ec2: unsafe.Pointer(ec2.NewFromConfig(cfg)), eks: unsafe.Pointer(eks.NewFromConfig(cfg)), iam: unsafe.Pointer(iam.NewFromConfig(cfg)),
		ssm: unsafe.Pointer(ssm.NewFromConfig(cfg)), sts: unsafe.Pointer(sts.NewFromConfig(cfg)), quotas: unsafe.Pointer(servicequotas.NewFromConfig(cfg)),
		elb: unsafe.Pointer(elb.NewFromConfig(cfg)), elbv2: unsafe.Pointer(elbv2.NewFromConfig(cfg)), logs: unsafe.Pointer(cloudwatchlogs.NewFromConfig(cfg)),
		kms:    unsafe.Pointer(kms.NewFromConfig(cfg)),
		caller: newCallerOnce(),
	}, nil
}

// NewOpener opens each region's session once, with o but for the region; o.Region is what "" stands for.
func NewOpener(o Options) Opener {
	var mu sync.Mutex
	open := map[string]*Session{}
	return func(ctx context.Context, region string) (*Session, error) {
		mu.Lock()
		defer mu.Unlock()
		if s, ok := open[region]; ok {
			return s, nil
		}
		mine := o
		if region != "" {
			mine.Region = region
		}
		s, err := Open(ctx, mine)
		if err != nil {
			return nil, err
		}
		open[region], open[s.Region] = s, s
		return s, nil
	}
}

func (o Options) speed() (float64, error) {
	text := os.Getenv("PIPECTL_SPEED")
	switch {
	case o.Speed > 0:
		return o.Speed, nil
	case text == "":
		return 1, nil
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || v <= 0 {
		return 0, &steps.Error{Code: "BadSpeed", Category: steps.BadInput,
			Message: fmt.Sprintf("PIPECTL_SPEED: expected a positive number, got %q", text)}
	}
	return v, nil
}

func (o Options) config(ctx context.Context) (aws.Config, error) {
	if o.Config != nil {
		cfg := o.Config.Copy()
		if o.Region != "" {
			cfg.Region = o.Region
		}
		if o.HTTPClient != nil {
			cfg.HTTPClient = o.HTTPClient
		}
		return cfg, nil
	}
	load := []func(*config.LoadOptions) error{
		config.WithHTTPClient(httpClient(o.HTTPClient)),
		config.WithLogger(logging.Nop{}), // it would write to our stderr what an error says better
	}
	if o.Region != "" {
		load = append(load, config.WithRegion(o.Region))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return aws.Config{}, &steps.Error{Code: "BadAWSConfig", Category: steps.Credentials, Err: err, Message: "aws: configuration",
			Hints: []string{"check AWS_PROFILE and ~/.aws/config"}}
	}
	return cfg, nil
}

// httpClient bounds how long AWS may stay silent: a call without an answer is a lost response, which callers know to handle.
func httpClient(given *http.Client) config.HTTPClient {
	if given != nil {
		return given
	}
	return awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.ResponseHeaderTimeout = 60 * time.Second
		t.MaxIdleConnsPerHost = 32
	})
}
