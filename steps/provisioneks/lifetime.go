package provisioneks

import (
	"context"
	"fmt"
	"time"

	"pipectl.dev/steps"
)

// checkLifetime holds the end of the credentials against the expected end of the work. Credentials that the SDK renews may end before.
func (s *state) checkLifetime(ctx context.Context) ([]error, error) {
	const what = "credentials"
	at, renews, ok, err := s.aws.CredentialsExpire(ctx)
	if err != nil || !ok {
		return nil, err
	}
	need := time.Duration(float64(wholeTime) / s.aws.Speed).Round(time.Second)
	left := time.Until(at).Round(time.Second)
	detail := fmt.Sprintf("end in %s, the cluster takes about %s", left, need)
	switch {
	case renews:
		s.env.Checked(what, fmt.Sprintf("end in %s and renew themselves", left), true)
		return nil, nil
	case left >= need:
		s.env.Checked(what, detail, true)
		return nil, nil
	}
	s.env.Checked(what, detail, false)
	return []error{&steps.Error{Code: "CredentialsEndTooSoon", Category: steps.Credentials, Message: "the credentials " + detail,
		Hints: []string{"get new ones, and run the same command; AWS_CREDENTIAL_EXPIRATION in the environment says when these end"}}}, nil
}
