package bindirsa

import (
	"errors"
	"strings"
	"testing"

	"github.com/aws/smithy-go"

	"pipectl.dev/steps"
)

func TestEachRefusalHasItsRemedy(t *testing.T) {
	used := map[string]bool{}
	for name, c := range map[string]struct {
		code, message string
		want          string // in the hint
	}{
		"the issuer is not registered":       {"InvalidIdentityToken", "No OpenIDConnect provider found in your account for https://" + here, "registers the issuer"},
		"the keys cannot be read":            {"InvalidIdentityToken", "Couldn't retrieve verification key from your identity provider,  please reference AssumeRoleWithWebIdentity documentation for requirements", "must be public"},
		"the provider lacks the audience":    {"InvalidIdentityToken", "Incorrect token audience", "does not list the audience"},
		"the keys were changed":              {"InvalidIdentityToken", "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)", "/openid/v1/jwks"},
		"the issuer did not answer":          {"IDPCommunicationError", "Error communicating with IDP", "could not reach"},
		"the claim was rejected":             {"IDPRejectedClaim", "The identity provider rejected the claim", "made anew"},
		"the trust policy does not admit it": {"AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity", "sub and aud"},
		"the token has ended":                {"ExpiredTokenException", "Token expired: current date/time 2 must be before the expiration date/time 1", "clock"},
		"the token has ended, shorter code":  {"ExpiredToken", "The security token included in the request is expired", "clock"},
		"STS is off in the region":           {"RegionDisabledException", "STS is not activated in this region", "switched off"},
		"the session is too large":           {"PackedPolicyTooLarge", "Packed size of session tags consumes 140% of allotted space", "session tags"},
	} {
		t.Run(name, func(t *testing.T) {
			refused := &smithy.OperationError{ServiceID: "STS", OperationName: "AssumeRoleWithWebIdentity", Err: &smithy.GenericAPIError{Code: c.code, Message: c.message}}
			var e *steps.Error
			if !errors.As(remedied(remedies, refused), &e) || len(e.Hints) != 1 || e.Category != steps.Verification {
				t.Fatalf("got %v, want one hint and a failed verification", e)
			}
			used[e.Hints[0]] = true
			if !strings.Contains(e.Hints[0], c.want) || !strings.Contains(e.Error(), c.message) {
				t.Errorf("%s: hint %q, want %q in it and what STS said", e, e.Hints[0], c.want)
			}
		})
	}
	for _, r := range remedies {
		if !used[r.hint] {
			t.Errorf("no case comes to %q", r.hint)
		}
	}
}

func TestOtherErrorsOfTheProofKeepTheirKind(t *testing.T) {
	err := &smithy.OperationError{ServiceID: "STS", OperationName: "AssumeRoleWithWebIdentity", Err: &smithy.GenericAPIError{Code: "Throttling", Message: "Rate exceeded"}}
	if e := steps.Classify(remedied(remedies, err)); e.Category != steps.Transient || !e.Retryable {
		t.Errorf("got %s of %s, want a transient error", e.Code, e.Category)
	}
}
