package provisioneks

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/iam"

	"pipectl.dev/cloud"
)

// makesLinked is what EKS asks of the caller besides, for the first cluster of an account.
const makesLinked = "iam:CreateServiceLinkedRole"

// linkedRole is a role of the account that EKS takes on itself. EKS makes it with the account's first of something, in the name of the caller.
type linkedRole struct{ service, name string }

func (s *state) linkedRoles() []linkedRole {
	out := []linkedRole{{"eks.amazonaws.com", "AWSServiceRoleForAmazonEKS"}}
	if len(s.spec.NodeGroups) > 0 {
		out = append(out, linkedRole{"eks-nodegroup.amazonaws.com", "AWSServiceRoleForAmazonEKSNodegroup"})
	}
	return out
}

// missingLinked gives the ARN that one of them will have which is not there, "" where all are, or where that may not be looked at.
func (s *state) missingLinked(ctx context.Context) (string, error) {
	const what = "service-linked roles"
	var missing []string
	arn := ""
	for _, r := range s.linkedRoles() {
		_, err := cloud.IAM(s.aws).GetRole(ctx, &iam.GetRoleInput{RoleName: &r.name})
		switch {
		case cloud.IsNotFound(err):
			missing = append(missing, r.name)
			arn = "arn:" + s.caller.Partition + ":iam::" + s.caller.Account + ":role/aws-service-role/" + r.service + "/" + r.name
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
