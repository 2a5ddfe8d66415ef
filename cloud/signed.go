package cloud

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"pipectl.dev/steps"
)

// What calls share that are written out here over the SDK's own signer, credentials and retries, because a client of the SDK for one call
// or four would take the binary over its limit: those of S3 (bucket_wire.go) and of EKS Auth (podidentity.go).

// persist makes a call again where that may help.
func persist(ctx context.Context, r aws.Retryer, once func() error) error {
	for attempt := 1; ; attempt++ {
		err := once()
		if err == nil || attempt >= r.MaxAttempts() || ctx.Err() != nil || !r.IsErrorRetryable(err) {
			return err
		}
		pause, delayErr := r.RetryDelay(attempt, err)
		if delayErr != nil {
			return err
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return err
		case <-t.C:
		}
	}
}

// sign signs a request for a service, with the step that makes it in its user agent (see tellStep).
func sign(ctx context.Context, cfg aws.Config, req *http.Request, body []byte, service, region string, more ...func(*v4.SignerOptions)) error {
	if step := steps.StepOf(ctx); step != "" {
		req.Header.Set("User-Agent", "pipectl md/pipectl-step#"+step)
	}
	if cfg.Credentials == nil {
		return &smithy.GenericAPIError{Code: "MissingAuthenticationToken", Message: "get credentials: there are none"}
	}
	keys, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return fmt.Errorf("get credentials: %w", err)
	}
	sum := sha256.Sum256(body)
	digest := hex.EncodeToString(sum[:])
	if service == "s3" { // which alone wants it told
		req.Header.Set("X-Amz-Content-Sha256", digest)
	}
	return v4.NewSigner(more...).SignHTTP(ctx, keys, req, digest, service, region, time.Now())
}

// exchange sends a signed request and reads the answer, of at most limit bytes and one more.
func exchange(cfg aws.Config, req *http.Request, limit int64) (*http.Response, []byte, error) {
	var client aws.HTTPClient = http.DefaultClient
	if cfg.HTTPClient != nil {
		client = cfg.HTTPClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, &smithyhttp.RequestSendError{Err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, nil, &smithyhttp.RequestSendError{Err: err}
	}
	return resp, body, nil
}

// refused is a service's refusal as the SDK's clients give it.
func refused(resp *http.Response, inner error) error {
	return &awshttp.ResponseError{
		ResponseError: &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: resp}, Err: inner},
		RequestID:     cmp.Or(resp.Header.Get("X-Amz-Request-Id"), resp.Header.Get("X-Amzn-Requestid")),
	}
}

// fault says whose fault an HTTP status is.
func fault(status int) smithy.ErrorFault {
	if status >= http.StatusInternalServerError {
		return smithy.FaultServer
	}
	return smithy.FaultClient
}
