package engine

import (
	"context"
	"fmt"

	"pipectl.dev/engine/expr"
	"pipectl.dev/steps"
)

// privateName is what a sensitive output is called among secrets; no param has such a name.
func privateName(stage, name string) string { return "stages." + stage + ".outputs." + name }

// private gives the secrets in a stage's outputs the names under which values has them, and notes the names that the stage itself uses.
func private(v any, stage string, names map[string]bool) any {
	switch v := v.(type) {
	case expr.Secret:
		names[v.Name] = true
		return expr.Secret{Name: privateName(stage, v.Name)}
	case map[string]any:
		for k := range v {
			v[k] = private(v[k], stage, names)
		}
	case []any:
		for i := range v {
			v[i] = private(v[i], stage, names)
		}
	}
	return v
}

// unlock takes from the store what the step did not tell of its sensitive outputs. What is not there is missed by whoever uses it.
func (x *run) unlock(ctx context.Context, st *state, names map[string]bool) {
	x.mu.Lock()
	for have := range st.private {
		delete(names, have)
	}
	x.mu.Unlock()
	vault, ok := x.store.(Vault)
	if !ok || len(names) == 0 {
		return
	}
	ctx, cancel := recording(ctx)
	defer cancel()
	kept, err := vault.Sensitive(ctx, st.stage.Name)
	if err != nil {
		x.warn(fmt.Sprintf("stage %s: sensitive outputs: %v", st.stage.Name, err))
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for name := range names {
		if value, ok := kept[name]; ok {
			x.redact.Add(value)
			st.private[name] = value
		}
	}
}

// keepPrivate stores the values that a result refers to, before the result: a reference must not stand without its value.
func (x *run) keepPrivate(ctx context.Context, st *state) error {
	x.mu.Lock()
	values := st.private
	x.mu.Unlock()
	vault, ok := x.store.(Vault)
	switch {
	case ok && st.result.Status == steps.Destroyed:
		return vault.PutSensitive(ctx, st.stage.Name, nil)
	case len(values) == 0 || len(st.result.Outputs) == 0:
		return nil
	case !ok:
		return &steps.Error{Code: "NoVault", Category: steps.Precondition, Message: "this store keeps no sensitive outputs"}
	default:
		return vault.PutSensitive(ctx, st.stage.Name, values)
	}
}
