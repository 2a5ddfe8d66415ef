package provisioneks

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/iam"

	"pipectl.dev/cloud"
)

// makesLinked is what EKS asks of the caller besides, for the first cluster of an account.
const makesLinked = "iam:CreateServiceLinkedRole"

// linkedRoles are the roles of the account that EKS takes on itself, by the service that each is of. EKS makes them with the account's first
// cluster and first node group, in the name of the caller.
func (s *state) linkedRoles() map[string]string {
	out := map[string]string{"eks.amazonaws.com": "AWSServiceRoleForAmazonEKS"}
	if len(s.spec.NodeGroups) > 0 {
		out["eks-nodegroup.amazonaws.com"] = "AWSServiceRoleForAmazonEKSNodegroup"
	}
	return out
}

// missingLinked gives the ARN that one of them will have which is not there, "" where all are, or where that may not be looked at.
func (s *state) missingLinked(ctx context.Context) (string, error) {
	const what = "service-linked roles"
	var missing []string
	arn, roles := "", s.linkedRoles()
	for _, service := range []string{"eks.amazonaws.com", "eks-nodegroup.amazonaws.com"} {
		name := roles[service]
		if name == "" {
			continue
		}
		_, err := cloud.IAM(s.aws).GetRole(ctx, &iam.GetRoleInput{RoleName: &name})
		switch {
		case cloud.IsNotFound(err):
			missing = append(missing, name)
			arn = "arn:" + s.caller.Partition + ":iam::" + s.caller.Account + ":role/aws-service-role/" + service + "/" + name
		case cloud.IsDenied(err):
			return "", nil
		case err != nil:
			return "", err
		}
	}
	if arn == "" {
		s.env.Checked(what, "are there", true)
	} else {
		s.env.Checked(what, "EKS makes "+strings.Join(missing, " and ")+" with the account's first cluster", true)
	}
	return arn, nil
}
