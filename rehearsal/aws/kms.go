package aws

import (
	"slices"
	"strings"
	"time"
)

// key is a KMS key. Keys are seeded: no step makes one.
type key struct {
	id, arn, state string // Enabled, Disabled, PendingDeletion
	spec           string // SYMMETRIC_DEFAULT, RSA_2048
	created        time.Time
}

var keyOperations = map[string]operation{"DescribeKey": reads((*Cloud).describeKey, "KeyId")}

// SeedKey adds a symmetric KMS key in a state such as Enabled or Disabled, and returns its ARN.
func (c *Cloud) SeedKey(id, state string) string {
	defer c.seeding()()
	k := &key{id: id, arn: c.arn("kms", "key/"+id), state: state, spec: "SYMMETRIC_DEFAULT", created: time.Now()}
	c.keys[k.arn] = k
	return k.arn
}

func (c *Cloud) describeKey(req *request) (any, error) {
	asked := text(req.body, "KeyId")
	if asked != "" && !strings.HasPrefix(asked, "arn:") {
		asked = c.arn("kms", "key/"+asked)
	}
	k := c.keys[asked]
	if k == nil {
		return nil, fail("NotFoundException", "Key '%s' does not exist", asked)
	}
	return map[string]any{"KeyMetadata": map[string]any{"AWSAccountId": c.opt.Account, "KeyId": k.id, "Arn": k.arn, "CreationDate": epoch(k.created), "Enabled": k.state == "Enabled",
		"KeyState": k.state, "KeyUsage": "ENCRYPT_DECRYPT", "KeySpec": k.spec, "CustomerMasterKeySpec": k.spec, "Origin": "AWS_KMS", "KeyManager": "CUSTOMER", "MultiRegion": false,
		"EncryptionAlgorithms": []string{k.spec}, "Description": ""}}, nil
}

// checkEncryption is EKS' look at what a cluster's Secrets are to be encrypted with.
func (c *Cloud) checkEncryption(b map[string]any) error {
	configs, _ := b["encryptionConfig"].([]any)
	for _, row := range configs {
		m, _ := row.(map[string]any)
		if !slices.Equal(textList(m, "resources"), []string{"secrets"}) {
			return fail("InvalidParameterException", "Only secrets can be encrypted")
		}
		arn := text(object(m, "provider"), "keyArn")
		k := c.keys[arn]
		if k == nil || k.state != "Enabled" {
			return fail("InvalidParameterException", "The keyArn in encryptionConfig provider is invalid, KeyId %s is not enabled or does not exist in the cluster's region", arn)
		}
	}
	return nil
}

// associateEncryptionConfig can be done once, and never undone.
func (c *Cloud) associateEncryptionConfig(req *request) (any, error) {
	return c.changeCluster(req, func(cl *cluster) (clusterChange, error) {
		if cl.doc["encryptionConfig"] != nil {
			return clusterChange{}, fail("InvalidRequestException", "Encryption is already enabled on this cluster")
		}
		config := req.body["encryptionConfig"]
		return clusterChange{kind: "AssociateEncryptionConfig", takes: "eks:UpdateClusterConfig", apply: func() { cl.doc["encryptionConfig"] = config }}, c.checkEncryption(req.body)
	})
}
