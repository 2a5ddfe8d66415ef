package cloud

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
)

// attempts is how often the SDK tries one call. Its default, 3 with a shared budget, ends runs that a patient client would finish:
// throttling is per account, so somebody else's controllers use it up.
const attempts = 10

// newRetryer retries what is worth retrying, long enough for a throttled account. No client-side rate limit: one throttled kind of
// call must not slow all others down. Pauses shrink with speed, as the rehearsed cloud's own clock does.
func newRetryer(speed float64) aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = attempts
		o.RateLimiter = ratelimit.None
		o.Backoff = retry.BackoffDelayerFunc(func(attempt int, err error) (time.Duration, error) {
			return time.Duration(float64(pause(attempt, err)) / speed), nil
		})
	})
}

// pause doubles from 0.5 s to 20 s, with jitter of half its length; throttled calls start at 1 s.
func pause(attempt int, err error) time.Duration {
	base := 500 * time.Millisecond
	if IsThrottle(err) {
		base = time.Second
	}
	d := min(base<<min(attempt-1, 10), 20*time.Second)
	return d/2 + rand.N(d/2+1)
}

// careful retries only what AWS answered with a refusal: a call that may have been carried out is not sent again.
type careful struct{ aws.Retryer }

func (c careful) IsErrorRetryable(err error) bool {
	return c.Retryer.IsErrorRetryable(err) && !Ambiguous(err)
}

// Ambiguous reports whether the call that failed with err may have been carried out all the same: no answer came, or a server error did.
func Ambiguous(err error) bool {
	if err == nil || IsThrottle(err) {
		return false
	}
	var status interface{ HTTPStatusCode() int }
	if errors.As(err, &status) && status.HTTPStatusCode() >= 500 {
		return true
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorFault() == smithy.FaultServer
	}
	return IsTransient(err)
}
