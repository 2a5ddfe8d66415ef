package cloud_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"pipectl.dev/cloud"
	"pipectl.dev/steps"
)

func apiError(status int, code, message string) error {
	return fmt.Errorf("wrapped: %w", &smithy.OperationError{ServiceID: "EC2", OperationName: "CreateVpc", Err: &awshttp.ResponseError{RequestID: "r", ResponseError: &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}}, Err: &smithy.GenericAPIError{Code: code, Message: message},
	}}})
}

func TestErrorsOfAWSGetAKindAndARemedy(t *testing.T) {
	for name, c := range map[string]struct {
		err       error
		exit      int
		hint      string
		ambiguous bool
	}{
		"a permission names the action":       {apiError(403, "UnauthorizedOperation", "no"), 11, "ec2:CreateVpc", false},
		"a quota names itself":                {apiError(400, "VpcLimitExceeded", "5"), 10, "VPCs per Region", false},
		"credentials that ended say carry on": {apiError(400, "ExpiredToken", "over"), 11, "carries on", false},
		"credentials nobody knows":            {apiError(401, "InvalidClientTokenId", "who"), 11, "AWS_PROFILE", false},
		"an instance that takes no more":      {apiError(400, "AttachmentLimitExceeded", "full"), 10, "detach a volume", false},
		"throttling passes":                   {apiError(503, "RequestLimitExceeded", "slow"), 14, "carries on", false},
		"a server error may have worked":      {apiError(500, "InternalError", "oops"), 14, "carries on", true},
		"a name that is taken":                {apiError(400, "EntityAlreadyExists", "is"), 12, "", false},
		"a call without an answer": {&smithy.OperationError{ServiceID: "EC2", OperationName: "CreateVpc", Err: &awshttp.ResponseError{
			ResponseError: &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: &http.Response{}}, Err: &smithyhttp.RequestSendError{Err: errors.New("connection reset")}}}}, 14, "carries on", true},
		"no credentials at all": {&smithy.OperationError{ServiceID: "STS", OperationName: "GetCallerIdentity", Err: errors.New("get identity: get credentials: none")}, 11, "AWS_PROFILE", false},
	} {
		t.Run(name, func(t *testing.T) {
			e := steps.Classify(cloud.Explain(c.err))
			if e.Category.ExitCode() != c.exit || !strings.Contains(strings.Join(e.Hints, " "), c.hint) {
				t.Errorf("got %s exit %d hints %v, want exit %d and %q", e.Code, e.Category.ExitCode(), e.Hints, c.exit, c.hint)
			}
			if got := cloud.Ambiguous(c.err); got != c.ambiguous {
				t.Errorf("ambiguous: got %v, want %v", got, c.ambiguous)
			}
			if strings.Contains(e.Message, "RequestID") {
				t.Errorf("the SDK's wrapping shows: %s", e.Message)
			}
		})
	}
}

func TestExplainLeavesOtherErrorsAlone(t *testing.T) {
	known := &steps.Error{Code: "Mine", Category: steps.Verification}
	for _, err := range []error{nil, context.Canceled, context.DeadlineExceeded, known, errors.New("plain")} {
		if got := cloud.Explain(err); got != err { //nolint:errorlint // it must be the very same
			t.Errorf("got %v, want %v", got, err)
		}
	}
}

func TestLookGivesNobodyTheSameAnswerTwiceNorAnOldOne(t *testing.T) {
	n := 0
	l := cloud.Look[int]{Fetch: func(context.Context) (int, error) { n++; return n, nil }}
	get := func(reader string) int {
		v, err := l.Get(t.Context(), reader)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	got := []int{get("a"), get("b"), get("a"), get("b")} // one plan, then one poll, each shared
	l.Changed()
	got = append(got, get("c"), get("a"))
	if want := []int{1, 1, 2, 2, 3, 3}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestPoliciesAreComparedByMeaning(t *testing.T) {
	a := `{"Statement":[{"Action":["sts:AssumeRole"],"Effect":"Allow"}],"Version":"2012-10-17"}`
	b := `%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%22sts%3AAssumeRole%22%7D%7D`
	if !cloud.SamePolicy(a, b) || cloud.SamePolicy(a, strings.Replace(a, "Allow", "Deny", 1)) {
		t.Error("policies are not compared by meaning")
	}
}

func TestGoneIsToldInSeveralWays(t *testing.T) {
	for name, c := range map[string]struct {
		code, message string
		gone          bool
	}{
		"EKS":                            {"ResourceNotFoundException", "No cluster found for name: blog.", true},
		"EKS, of old":                    {"ClientException", "No cluster found for name: blog.", true},
		"another complaint of its class": {"ClientException", "These credentials are not valid", false},
		"EC2":                            {"InvalidVpcID.NotFound", "The vpc ID does not exist", true},
		"NAT gateways":                   {"NatGatewayNotFound", "The Nat Gateway was not found", true},
		"IAM":                            {"NoSuchEntity", "cannot be found", true},
		"in use":                         {"ResourceInUseException", "Cluster has nodegroups attached", false},
	} {
		if got := cloud.IsNotFound(apiError(400, c.code, c.message)); got != c.gone {
			t.Errorf("%s: gone is %v, want %v", name, got, c.gone)
		}
	}
}
