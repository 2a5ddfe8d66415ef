package cloud

import (
	"context"
	"encoding/json"
	"net/url"
	"reflect"

	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// SamePolicy reports whether two policy documents say the same. IAM gives documents back URL-encoded, and in a form of its own.
func SamePolicy(a, b string) bool { return reflect.DeepEqual(policy(a), policy(b)) }

func policy(text string) any {
	if decoded, err := url.PathUnescape(text); err == nil {
		text = decoded
	}
	var v any
	if json.Unmarshal([]byte(text), &v) != nil {
		return text
	}
	return plain(v)
}

// plain takes a list of one for its only member: policies mean the same by both, and IAM turns one into the other.
func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			v[k] = plain(x)
		}
		return v
	case []any:
		if len(v) == 1 {
			return plain(v[0])
		}
		for i, x := range v {
			v[i] = plain(x)
		}
		return v
	default:
		return v
	}
}

// DeleteRole empties the role first: IAM keeps one that has anything.
func (s *Session) DeleteRole(ctx context.Context, role string) error {
	attached, err := IAM(s).ListAttachedRolePolicies(ctx, &iam.ListAttachedRolePoliciesInput{RoleName: &role})
	if err != nil {
		return err
	}
	for _, a := range attached.AttachedPolicies {
		_, err := IAM(s).DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: &role, PolicyArn: a.PolicyArn})
		if err != nil && !IsNotFound(err) {
			return err
		}
	}
	inline, err := IAM(s).ListRolePolicies(ctx, &iam.ListRolePoliciesInput{RoleName: &role})
	if err != nil {
		return err
	}
	for _, name := range inline.PolicyNames {
		_, err := IAM(s).DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: &role, PolicyName: &name})
		if err != nil && !IsNotFound(err) {
			return err
		}
	}
	_, err = IAM(s).DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: &role})
	return err
}
