package bindirsa

import (
	"errors"
	"strings"

	"pipectl.dev/cloud"
	"pipectl.dev/steps"
)

// refusal is an error of a call by code and part of its message, and what mends it.
type refusal struct{ code, says, hint string }

// remedies map each refusal of AssumeRoleWithWebIdentity to the one thing that mends it; the first that fits holds. STS has few codes, and
// tells what it means in the message. The call carries no signature, so an expired token is the service account's, never the caller's.
var remedies = []refusal{
	{"InvalidIdentityToken", "No OpenIDConnect provider", "IAM does not know the issuer of this token: run the stage that makes the cluster again, it registers the issuer"},
	{"InvalidIdentityToken", "verification key", "AWS cannot read the issuer's keys: its discovery document and its JWKS must be public over https, and name each other"},
	{"InvalidIdentityToken", "Incorrect token audience", "the OIDC provider does not list the audience " + audience + ": run the stage that makes the cluster again, it adds it"},
	{"InvalidIdentityToken", "", "the token's signature is of no key that the issuer publishes: compare its JWKS with what the API server serves at /openid/v1/jwks"},
	{"IDPCommunicationError", "", "AWS could not reach the issuer: run again in a minute; where it stays so, the issuer is not public over https"},
	{"IDPRejectedClaim", "", "the token was refused as revoked or void: was the service account made anew meanwhile? run again"},
	{"AccessDenied", "", "the trust policy does not admit this service account: compare its sub and aud with the policy, and look for another tool that writes it"},
	{"ExpiredTokenException", "", expiredHint},
	{"ExpiredToken", "", expiredHint},
	{"RegionDisabledException", "", "STS is switched off in this region: switch it on in the account settings of IAM"},
	{"PackedPolicyTooLarge", "", "the session's policies and tags are too large together: give the role fewer or shorter session tags"},
}

const expiredHint = "the token had ended when it was made: set the clock of the API server"

// remedy is that of a refusal, for an issuer that is of EKS or published by us.
func (s *state) remedy(err error) error {
	err = remedied(remedies, err)
	if e := (*steps.Error)(nil); s.spec.Issuer != nil && errors.As(err, &e) && e.Code == "ProofFailed" {
		hint := strings.Replace(e.Hints[0], "run the stage that makes the cluster again", "run the stage that has issuer.bucket again", 1)
		e.Hints = []string{hint, s.publicly()}
	}
	return err
}

// remedied gives a refusal its remedy; other errors are told as those of any call.
func remedied(known []refusal, err error) error {
	for _, r := range known {
		if cloud.Code(err) == r.code && (r.says == "" || cloud.Says(err, r.says)) {
			return &steps.Error{Code: "ProofFailed", Category: steps.Verification, Err: short(err), Hints: []string{r.hint}}
		}
	}
	return cloud.Explain(err)
}

// short is the refusal without the SDK's wrapping.
func short(err error) error {
	if e := cloud.Classify(err); e != nil {
		return e.Err
	}
	return err
}
