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
	if plain, err := url.PathUnescape(text); err == nil {
		text = plain
	}
	var v any
	if json.Unmarshal([]byte(text), &v) != nil {
		return text
	}
	return v
}

// DeleteRole empties the role first: IAM keeps one that has anything.
func (s *Session) DeleteRole(ctx context.Context, role string) error {
	attached, err := s.IAM.ListAttachedRolePolicies(ctx, &iam.ListAttachedRolePoliciesInput{RoleName: &role})
	if err != nil {
		return err
	}
	for _, a := range attached.AttachedPolicies {
		_, err := s.IAM.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: &role, PolicyArn: a.PolicyArn})
		if err != nil && !IsNotFound(err) {
			return err
		}
	}
	inline, err := s.IAM.ListRolePolicies(ctx, &iam.ListRolePoliciesInput{RoleName: &role})
	if err != nil {
		return err
	}
	for _, name := range inline.PolicyNames {
		_, err := s.IAM.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: &role, PolicyName: &name})
		if err != nil && !IsNotFound(err) {
			return err
		}
	}
	_, err = s.IAM.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: &role})
	return err
}

