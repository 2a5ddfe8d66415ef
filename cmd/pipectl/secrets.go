package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/cloud"
	"pipectl.dev/engine"
	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

// secretSource is an engine.SecretSource that holds a function and no client. What is put into an interface must not reach an SDK client by
// its type: the linker would keep every method of that client, which is 35 MB for EC2 alone.
type secretSource func(context.Context, engine.From) (string, error)

func (f secretSource) Resolve(ctx context.Context, from engine.From) (string, error) {
	return f(ctx, from)
}

// resolve reads a secret from where a param's `from` says. Secrets Manager is read through SSM, which offers its secrets as parameters:
// one service less to reach and to allow.
func (c *clients) resolve(ctx context.Context, from engine.From) (string, error) {
	switch {
	case from.SSM != "":
		return c.parameter(ctx, from.SSM)
	case from.SecretsManager != "":
		name, key, _ := strings.Cut(from.SecretsManager, "#")
		value, err := c.parameter(ctx, "/aws/reference/secretsmanager/"+name)
		if err != nil || key == "" {
			return value, err
		}
		return member(value, name, key)
	case from.K8s != nil:
		return c.secretKey(ctx, *from.K8s)
	default:
		return "", &steps.Error{Code: "NoSource", Category: steps.BadInput, Message: "from: names no source that is read here"}
	}
}

func (c *clients) parameter(ctx context.Context, name string) (string, error) {
	s, err := c.aws(ctx, "")
	if err != nil {
		return "", err
	}
	out, err := cloud.SSM(s).GetParameter(ctx, &ssm.GetParameterInput{Name: &name, WithDecryption: aws.Bool(true)})
	if cloud.IsNotFound(err) {
		return "", &steps.Error{Code: "SecretNotFound", Category: steps.Precondition, Message: fmt.Sprintf("ssm %s: no such parameter in %s", name, s.Region),
			Hints: []string{"aws ssm put-parameter --type SecureString --name " + name + " --value ..."}}
	}
	if err != nil {
		return "", fmt.Errorf("ssm %s: %w", name, cloud.Explain(err))
	}
	return aws.ToString(out.Parameter.Value), nil
}

// member is one key of a secret that holds a JSON object.
func member(value, name, key string) (string, error) {
	var all map[string]any
	if err := json.Unmarshal([]byte(value), &all); err != nil {
		return "", &steps.Error{Code: "SecretNotJSON", Category: steps.Precondition, Message: "secretsmanager " + name + ": holds no JSON object, so it has no keys"}
	}
	v, ok := all[key]
	if !ok {
		return "", &steps.Error{Code: "SecretNotFound", Category: steps.Precondition, Message: fmt.Sprintf("secretsmanager %s: has no key %q", name, key)}
	}
	if s, ok := v.(string); ok {
		return s, nil
	}
	return fmt.Sprint(v), nil
}

func (c *clients) secretKey(ctx context.Context, from engine.FromK8s) (string, error) {
	ref := from.Cluster
	if ref.IsZero() {
		ref = homeCluster()
	}
	k, err := c.kube(ctx, ref)
	if err != nil {
		return "", err
	}
	s, err := k.Typed.CoreV1().Secrets(from.Namespace).Get(ctx, from.Name, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("secret %s/%s: %w", from.Namespace, from.Name, kube.Explain(err))
	}
	value, ok := s.Data[from.Key]
	if !ok {
		return "", &steps.Error{Code: "SecretNotFound", Category: steps.Precondition, Message: fmt.Sprintf("secret %s/%s: has no key %q", from.Namespace, from.Name, from.Key)}
	}
	return string(value), nil
}
