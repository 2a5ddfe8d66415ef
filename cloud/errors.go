package cloud

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"

	"pipectl.dev/steps"
)

// Code is the service's error code in err, "" when no service answered.
func Code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// Says reports whether the service's error message in err contains text.
func Says(err error, text string) bool {
	var api smithy.APIError
	return errors.As(err, &api) && strings.Contains(api.ErrorMessage(), text)
}

func among(err error, codes ...string) bool { return slices.Contains(codes, Code(err)) }

// IsNotFound reports that the thing named does not exist, or is not visible yet.
func IsNotFound(err error) bool {
	code := Code(err)
	return strings.HasSuffix(code, ".NotFound") || strings.HasSuffix(code, ".NotFoundException") || strings.HasSuffix(code, ".Unknown") ||
		among(err, "NatGatewayNotFound", "NoSuchEntity", "LoadBalancerNotFound", "TargetGroupNotFound", "ResourceNotFoundException", "NotFoundException", "ParameterNotFound", "NoSuchResourceException", "NoSuchKey") ||
		code == "ClientException" && Says(err, "No cluster found")
}

// IsThrottle reports that too many calls were made. LimitExceededException is left out of the SDK's own set: here it is a quota.
func IsThrottle(err error) bool {
	if _, ok := retry.DefaultThrottleErrorCodes[Code(err)]; ok {
		return Code(err) != "LimitExceededException"
	}
	return false
}

// IsExists reports that a thing of that name is already there, ours or not.
func IsExists(err error) bool {
	return among(err, "EntityAlreadyExists", "ParameterAlreadyExists", "InvalidLaunchTemplateName.AlreadyExistsException",
		"RouteAlreadyExists", "Resource.AlreadyAssociated", "InvalidPermission.Duplicate") ||
		among(err, "ResourceInUseException") && (Says(err, "already exists") || Says(err, "already in use"))
}

// IsConflict reports that something else is being done to the thing, or that it is being used.
func IsConflict(err error) bool {
	return IsExists(err) || among(err, "ResourceInUseException", "ConcurrentModification", "IdempotentParameterMismatch",
		"IncorrectState", "IncorrectInstanceState", "VolumeModificationRateExceeded")
}

// IsDependency reports that something still hangs on the thing to be removed.
func IsDependency(err error) bool {
	return among(err, "DependencyViolation", "DeleteConflict", "InvalidIPAddress.InUse", "InvalidNetworkInterface.InUse", "VolumeInUse",
		"ResourceInUse", "ResourceInUseException")
}

// IsQuota reports that a quota is used up: more attempts do not help.
func IsQuota(err error) bool {
	code := Code(err)
	if IsThrottle(err) {
		return false
	}
	return strings.HasSuffix(code, "LimitExceeded") || strings.HasSuffix(code, "LimitExceededException") || code == "ServiceQuotaExceededException"
}

// IsExpired reports that the credentials ended while we worked; AWS goes on with what it was asked.
func IsExpired(err error) bool {
	return among(err, "ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired")
}

// IsCredentials reports that AWS does not know the caller, or that there are no credentials at all.
func IsCredentials(err error) bool {
	if IsExpired(err) || among(err, "InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch", "IncompleteSignature",
		"MissingAuthenticationToken", "InvalidAccessKeyId", "InvalidSignatureException") {
		return true
	}
	return err != nil && (strings.Contains(err.Error(), "get credentials:") || strings.Contains(err.Error(), "refresh cached credentials"))
}

// IsDenied reports that the caller may not do this.
func IsDenied(err error) bool {
	return among(err, "AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "Client.UnauthorizedOperation", "NotAuthorized")
}

// IsTransient reports that the same call may well work a little later.
func IsTransient(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) {
		return false
	}
	var timeout net.Error
	return IsThrottle(err) || retry.IsErrorRetryables(retry.DefaultRetryables).IsErrorRetryable(err) == aws.TrueTernary ||
		errors.As(err, &timeout) || Code(err) == "" && strings.Contains(err.Error(), "request send failed") ||
		among(err, "InternalError", "InternalFailure", "InternalServerError", "ServerException", "ServiceUnavailable", "ServiceUnavailableException",
			"Unavailable", "ServiceFailure", "ServiceFailureException", "RequestTimeout")
}

// callError is an API error in the words of its service, without the SDK's wrapping.
type callError struct {
	action, code, text string // "ec2:CreateVpc"
	cause              error
}

func (e *callError) Error() string {
	if e.code == "" {
		return e.action + ": " + e.text
	}
	return e.action + ": " + e.code + ": " + e.text
}

func (e *callError) Unwrap() error { return e.cause }

// Action is the IAM action of the call that failed with err, such as "ec2:CreateVpc"; "" when err comes from no call.
func Action(err error) string {
	var op *smithy.OperationError
	if !errors.As(err, &op) {
		return ""
	}
	service := strings.ToLower(strings.ReplaceAll(op.Service(), " ", ""))
	return service + ":" + op.Operation()
}

// Explain gives an error of an AWS call its kind, its short form and a hint. Errors that have a kind already, and nil, stay as they are.
func Explain(err error) error {
	if err == nil {
		return nil
	}
	if e := Classify(err); e != nil {
		return e
	}
	return err
}

// Classify is Explain with the kind in hand; nil when err is none of AWS's, or already has a kind.
func Classify(err error) *steps.Error {
	var known *steps.Error
	action := Action(err)
	if err == nil || errors.As(err, &known) {
		return nil
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	if action == "" && !IsCredentials(err) {
		return nil
	}
	short := shorten(err, action)
	e := &steps.Error{Code: Code(err), Err: short, Category: steps.Precondition}
	kind(e, err, action)
	return e
}

func shorten(err error, action string) error {
	var api smithy.APIError
	if errors.As(err, &api) {
		return &callError{action: action, code: api.ErrorCode(), text: api.ErrorMessage(), cause: err}
	}
	text := err.Error()
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		text = inner.Error()
	}
	if action == "" {
		return err
	}
	return &callError{action: action, text: text, cause: err}
}

// kind fills in category, code and hint.
func kind(e *steps.Error, err error, action string) {
	switch {
	case IsExpired(err):
		e.Category, e.Hints = steps.Credentials, []string{"renew the credentials and run the same command again: it carries on"}
	case IsCredentials(err) && Code(err) == "": // no service was asked: what the chain of providers tried last says nothing to the reader
		e.Category, e.Code, e.Message, e.Err = steps.Credentials, "NoCredentials", "no AWS credentials were found", nil
		if tried := profileError(err); tried != "" {
			e.Message = "no AWS credentials: " + tried
		}
		e.Hints = []string{"set AWS_PROFILE (and `aws sso login`), or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; on AWS give the instance or the pod a role"}
	case IsCredentials(err):
		e.Category, e.Hints = steps.Credentials, []string{"check AWS_PROFILE or the AWS_* variables; `aws sts get-caller-identity` shows who you are"}
	case IsDenied(err):
		e.Category, e.Hints = steps.Permission, []string{"allow the action " + action + " to the caller"}
	case IsQuota(err):
		e.Category, e.Hints = steps.Quota, []string{quotaHint(e.Code)}
	case IsTransient(err) || Ambiguous(err):
		e.Category, e.Retryable, e.Hints = steps.Transient, true, []string{"run the same command again: it carries on"}
		if e.Code == "" {
			e.Code = "NoAnswer"
		}
	case IsConflict(err):
		e.Category = steps.Conflict
	}
	if e.Code == "" {
		e.Code = "AWSError"
	}
}

// profileError is what is wrong with the credentials that were found; "" when the search ended at the metadata service, where it ends
// for everybody who has none.
func profileError(err error) string {
	text := err.Error()
	if strings.Contains(text, "ec2imds") || strings.Contains(text, "EC2 IMDS") || strings.Contains(text, "EC2 instance metadata") {
		return ""
	}
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		text = inner.Error()
	}
	return text
}

var quotaNames = map[string]string{
	"VpcLimitExceeded":               "VPCs per Region",
	"AddressLimitExceeded":           "EC2-VPC Elastic IPs",
	"NatGatewayLimitExceeded":        "NAT gateways per Availability Zone",
	"InternetGatewayLimitExceeded":   "Internet gateways per Region",
	"VcpuLimitExceeded":              "Running On-Demand Standard instances (vCPUs)",
	"InstanceLimitExceeded":          "Running On-Demand Standard instances (vCPUs)",
	"VolumeLimitExceeded":            "Storage for gp3 volumes",
	"ResourceLimitExceededException": "EKS clusters or node groups",
	"LimitExceeded":                  "an IAM quota (roles, policies per role, OpenID Connect providers, trust policy length)",
}

func quotaHint(code string) string {
	if code == "AttachmentLimitExceeded" { // of the instance's type, which nobody can raise
		return "detach a volume that the instance does not need"
	}
	name := quotaNames[code]
	if name == "" {
		name = code
	}
	return "quota used up: " + name + "; remove what is not needed, or ask for more in Service Quotas"
}
