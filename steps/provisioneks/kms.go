package provisioneks

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"pipectl.dev/cloud"
)

func (s *state) encryption() []ekstypes.EncryptionConfig {
	return []ekstypes.EncryptionConfig{{Provider: &ekstypes.Provider{KeyArn: &s.spec.KMSKeyARN}, Resources: []string{"secrets"}}}
}

// encrypt has a cluster that is there encrypt its Secrets from now on, and those that it has already. EKS never takes that back.
func (s *state) encrypt(ctx context.Context, token *string) (*ekstypes.Update, error) {
	o, err := cloud.EKS(s.aws).AssociateEncryptionConfig(ctx, &eks.AssociateEncryptionConfigInput{
		ClusterName: &s.spec.Name, EncryptionConfig: s.encryption(), ClientRequestToken: token,
	})
	if err != nil {
		return nil, err
	}
	return o.Update, nil
}

// checkKey looks at the key before the first write: a cluster whose key is gone or disabled cannot start, nor be told another one.
func (s *state) checkKey(ctx context.Context) ([]error, error) {
	arn := s.spec.KMSKeyARN
	if arn == "" || s.env.Unknown("kmsKeyArn") {
		return nil, nil
	}
	// arn:aws:kms:REGION:ACCOUNT:key/ID
	if region := strings.Split(arn, ":")[3]; region != s.aws.Region {
		s.env.Checked("KMS key", "is in "+region, false)
		return []error{precondition("KeyElsewhere", fmt.Sprintf("kmsKeyArn: the key is in %s, the cluster in %s", region, s.aws.Region), "use a key of "+s.aws.Region)}, nil
	}
	o, err := cloud.KMS(s.aws).DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &arn})
	if cloud.IsNotFound(err) {
		s.env.Checked("KMS key", "does not exist", false)
		return []error{precondition("NoSuchKey", "kmsKeyArn: there is no key "+arn, "`aws kms list-keys` lists those of the region")}, nil
	}
	if err != nil {
		return nil, err
	}
	m := o.KeyMetadata
	ok := m.KeyState == kmstypes.KeyStateEnabled && m.KeySpec == kmstypes.KeySpecSymmetricDefault
	s.env.Checked("KMS key", fmt.Sprintf("%s, %s", m.KeyState, m.KeySpec), ok)
	if ok {
		return nil, nil
	}
	return []error{precondition("UnusableKey", fmt.Sprintf("kmsKeyArn: the key is %s and %s", m.KeyState, m.KeySpec), "use a symmetric key that is enabled, or enable this one")}, nil
}
