package results

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

// secretKey is what Kubernetes takes as a key of a Secret.
var secretKey = regexp.MustCompile(`^[-._a-zA-Z0-9]{1,253}$`)

// PutSensitive implements engine.Vault: a Secret NAME-sensitive beside the ConfigMap, with a key STAGE.OUTPUT for each value, so that a
// workload can take it by secretKeyRef.
func (c *ConfigMap) PutSensitive(ctx context.Context, stage string, values map[string]string) error {
	for name := range values {
		if !secretKey.MatchString(stage + "." + name) {
			return &steps.Error{Code: "BadName", Category: steps.BadInput, Message: fmt.Sprintf("results: sensitive output %s.%s: not a key that a Secret can have", stage, name)}
		}
	}
	err := c.changing(ctx, c.secrets, func(now kube.Record) (map[string]*string, error) {
		changes := map[string]*string{}
		for k := range now.Data {
			if strings.HasPrefix(k, stage+".") {
				changes[k] = nil
			}
		}
		for name, v := range values {
			changes[stage+"."+name] = &v
		}
		return changes, nil
	})
	if err != nil {
		return fmt.Errorf("results: sensitive outputs of %s: %w", stage, err)
	}
	return nil
}

// Sensitive implements engine.Vault.
func (c *ConfigMap) Sensitive(ctx context.Context, stage string) (map[string]string, error) {
	r, err := c.secrets.look(ctx)
	if err != nil {
		return nil, fmt.Errorf("results: sensitive outputs of %s: %w", stage, err)
	}
	values := map[string]string{}
	for k, v := range r.Data {
		if name, ok := strings.CutPrefix(k, stage+"."); ok {
			values[name] = v
		}
	}
	return values, nil
}

func sensitiveName(stage string) string { return stage + ".sensitive" }

// PutSensitive implements engine.Vault: an object of its own, encrypted like all.
func (b *Bucket) PutSensitive(ctx context.Context, stage string, values map[string]string) error {
	err := b.putSensitive(ctx, stage, values)
	if err != nil {
		return b.explain("results: sensitive outputs of "+stage, err)
	}
	return nil
}

func (b *Bucket) putSensitive(ctx context.Context, stage string, values map[string]string) error {
	if len(values) == 0 {
		return b.bucket.Delete(ctx, b.key(sensitiveName(stage)))
	}
	raw, err := json.Marshal(values)
	if err != nil {
		return err
	}
	return b.change(ctx, sensitiveName(stage), func([]byte) ([]byte, error) { return raw, nil })
}

// Sensitive implements engine.Vault.
func (b *Bucket) Sensitive(ctx context.Context, stage string) (map[string]string, error) {
	raw, _, err := b.read(ctx, sensitiveName(stage))
	values := map[string]string{}
	if err == nil && raw != nil {
		if err = json.Unmarshal(raw, &values); err != nil {
			err = &steps.Error{Code: BadResult, Category: steps.Precondition, Message: "no sensitive outputs, or only a piece of them"} // without the text: it may be one
		}
	}
	if err != nil {
		return nil, b.explain("results: sensitive outputs of "+stage, err)
	}
	return values, nil
}
