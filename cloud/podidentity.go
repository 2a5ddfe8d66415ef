package cloud

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"
)

// PodSession is what EKS Auth gives for the token of a pod.
type PodSession struct {
	Association string // id of the association that gave it
	Role        string // ARN of the role's session
	Credentials aws.Credentials
}

// podCall is the one call of EKS Auth, as its reference and the SDK's model of it have it.
var podCall = struct{ service, action string }{service: "eks-auth", action: "AssumeRoleForPodIdentity"}

// maxPodSession bounds the answer of EKS Auth, in bytes.
const maxPodSession = 1 << 20

// AssumeRoleForPodIdentity gives what a pod would get from EKS by Pod Identity for its token, which must be bound to the pod and made out to
// pods.eks.amazonaws.com. It is the call that the agent on the pod's node makes, with the caller's own credentials for those of the node.
func (s *Session) AssumeRoleForPodIdentity(ctx context.Context, cluster, token string) (PodSession, error) {
	var out PodSession
	err := persist(ctx, newRetryer(s.Speed), func() (err error) {
		if out, err = s.podSession(ctx, cluster, token); err != nil {
			err = &smithy.OperationError{ServiceID: podCall.service, OperationName: podCall.action, Err: err}
		}
		return err
	})
	return out, err
}

func (s *Session) podSession(ctx context.Context, cluster, token string) (PodSession, error) {
	body, err := json.Marshal(map[string]string{"token": token})
	if err != nil {
		return PodSession{}, fmt.Errorf("request: %w", err)
	}
	base := cmp.Or(os.Getenv("AWS_ENDPOINT_URL_EKS_AUTH"), aws.ToString(s.Config.BaseEndpoint), "https://eks-auth."+s.Region+"."+dualStackDomain(s.Region))
	at := strings.TrimSuffix(base, "/") + "/clusters/" + url.PathEscape(cluster) + "/assume-role-for-pod-identity"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at, bytes.NewReader(body))
	if err != nil {
		return PodSession{}, fmt.Errorf("endpoint of EKS Auth: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	if err := sign(ctx, s.Config, req, body, podCall.service, s.Region); err != nil {
		return PodSession{}, err
	}
	resp, answer, err := exchange(s.Config, req, maxPodSession)
	if err != nil {
		return PodSession{}, err
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return PodSession{}, jsonRefusal(resp, answer)
	}
	return readPodSession(answer)
}

func readPodSession(answer []byte) (PodSession, error) {
	var doc struct {
		AssumedRoleUser        struct{ Arn string }
		PodIdentityAssociation struct{ AssociationID string }
		Credentials            struct{ AccessKeyID, SecretAccessKey, SessionToken string }
	}
	if err := json.Unmarshal(answer, &doc); err != nil || doc.Credentials.AccessKeyID == "" {
		return PodSession{}, &smithy.DeserializationError{Err: fmt.Errorf("the answer has no credentials (%d bytes)", len(answer))}
	}
	return PodSession{Association: doc.PodIdentityAssociation.AssociationID, Role: doc.AssumedRoleUser.Arn,
		Credentials: aws.Credentials{AccessKeyID: doc.Credentials.AccessKeyID, SecretAccessKey: doc.Credentials.SecretAccessKey, SessionToken: doc.Credentials.SessionToken}}, nil
}

// jsonRefusal reads an error of the REST JSON protocol: its code stands in a header, before a colon, or in the document, after a hash.
func jsonRefusal(resp *http.Response, body []byte) error {
	var doc struct {
		Type    string `json:"__type"`
		Code    string `json:"code"`
		Message string `json:"message"` // or Message: names are matched without their case
	}
	_ = json.Unmarshal(body, &doc) // an answer of a proxy is none: the status says what there is to say
	code, _, _ := strings.Cut(cmp.Or(resp.Header.Get("X-Amzn-Errortype"), doc.Code, doc.Type), ":")
	code = code[strings.LastIndexByte(code, '#')+1:]
	return refused(resp, &smithy.GenericAPIError{Code: cmp.Or(code, fmt.Sprint("HTTP", resp.StatusCode)), Message: cmp.Or(doc.Message, http.StatusText(resp.StatusCode)), Fault: fault(resp.StatusCode)})
}

// dualStackDomain is what the hosts of services end with that have both kinds of addresses, as EKS Auth does everywhere.
func dualStackDomain(region string) string {
	if strings.HasPrefix(region, "cn-") {
		return "api.amazonwebservices.com.cn"
	}
	return "api.aws"
}
