package cloud

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// Caller is who makes the calls.
type Caller struct {
	Account   string // 12 digits
	ARN       string // of the user, or of the role's session
	Partition string // aws, aws-cn, aws-us-gov
}

// callerOnce is a lock that is a channel: a mutex held during a call would stop the clock of a virtual-time test.
type callerOnce struct {
	turn chan struct{}
	seen *Caller
}

func newCallerOnce() *callerOnce { return &callerOnce{turn: make(chan struct{}, 1)} }

// Identify asks STS who the caller is; the answer is kept for the session's life.
func (s *Session) Identify(ctx context.Context) (Caller, error) {
	select {
	case s.caller.turn <- struct{}{}:
		defer func() { <-s.caller.turn }()
	case <-ctx.Done():
		return Caller{}, context.Cause(ctx)
	}
	if s.caller.seen != nil {
		return *s.caller.seen, nil
	}
	out, err := STS(s).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return Caller{}, Explain(err)
	}
	c := Caller{Account: aws.ToString(out.Account), ARN: aws.ToString(out.Arn), Partition: "aws"}
	if parts := strings.SplitN(c.ARN, ":", 3); len(parts) == 3 {
		c.Partition = parts[1]
	}
	s.caller.seen = &c
	return c, nil
}

// PrincipalARN is the ARN that IAM policies and access entries know: the role of an assumed-role session, else the ARN itself. It lacks the
// role's path, as the roles of IAM Identity Center have one: a session does not tell it.
func (c Caller) PrincipalARN() string {
	// arn:aws:sts::111122223333:assumed-role/NAME/SESSION
	head, rest, ok := strings.Cut(c.ARN, ":assumed-role/")
	if !ok {
		return c.ARN
	}
	name, _, _ := strings.Cut(rest, "/")
	return strings.Replace(head, ":sts:", ":iam:", 1) + ":role/" + name
}

// Is reports whether arn, with or without a path, is the caller's principal: the name of a role is its account's only one.
func (c Caller) Is(arn string) bool {
	if !strings.Contains(c.ARN, ":assumed-role/") {
		return arn == c.ARN
	}
	head, path, ok := strings.Cut(arn, ":role/")
	return ok && head+":role/"+path[strings.LastIndex(path, "/")+1:] == c.PrincipalARN()
}

// role is PrincipalARN with the role's path, where IAM tells the caller of it.
func (s *Session) role(ctx context.Context, c Caller) string {
	arn := c.PrincipalARN()
	if c.ARN == arn {
		return arn
	}
	o, err := IAM(s).GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String(arn[strings.LastIndex(arn, "/")+1:])})
	if err != nil {
		return arn
	}
	return aws.ToString(o.Role.Arn)
}

// CredentialsExpire says when the present credentials end, and whether the SDK gets new ones by itself then. ok is false where they do not
// end, or nobody knows when.
func (s *Session) CredentialsExpire(ctx context.Context) (at time.Time, renews, ok bool, err error) {
	if s.Config.Credentials == nil {
		return time.Time{}, false, false, nil
	}
	c, err := s.Config.Credentials.Retrieve(ctx)
	if err != nil {
		return time.Time{}, false, false, Explain(fmt.Errorf("get credentials: %w", err))
	}
	if c.CanExpire {
		return c.Expires, true, true, nil
	}
	// Tools that put temporary credentials into the environment say there when they end; the SDK does not read it, nor can it renew them.
	if os.Getenv("AWS_ACCESS_KEY_ID") == c.AccessKeyID {
		at, err := time.Parse(time.RFC3339, os.Getenv("AWS_CREDENTIAL_EXPIRATION"))
		return at, false, err == nil, nil
	}
	return time.Time{}, false, false, nil
}
