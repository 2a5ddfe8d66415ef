package expr

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"

	"pipectl.dev/steps"
)

// Secret stands for a secret param in an expression: it has a name and no value.
type Secret struct{ Name string }

var errSecret = errors.New("a secret can only be passed on whole")

// ConvertToNative implements ref.Val.
func (s Secret) ConvertToNative(reflect.Type) (any, error) { return nil, errSecret }

// ConvertToType implements ref.Val.
func (s Secret) ConvertToType(ref.Type) ref.Val { return types.WrapErr(errSecret) }

// Equal implements ref.Val: comparing would be a way to guess.
func (s Secret) Equal(ref.Val) ref.Val { return types.WrapErr(errSecret) }

// Type implements ref.Val.
func (s Secret) Type() ref.Type { return SecretType }

// Value implements ref.Val.
func (s Secret) Value() any { return s }

// native turns a CEL value into maps, slices and scalars.
func native(v ref.Val) (any, error) {
	switch v := v.(type) {
	case Secret:
		return v, nil
	case types.Bool:
		return bool(v), nil
	case types.Int:
		return int64(v), nil
	case types.Uint:
		return int64(v), nil
	case types.Double:
		return float64(v), nil
	case types.String:
		return string(v), nil
	case types.Null:
		return nil, nil
	case traits.Mapper:
		return nativeMap(v)
	case traits.Lister:
		out := []any{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			x, err := native(it.Next())
			if err != nil {
				return nil, err
			}
			if _, secret := x.(Secret); secret {
				return nil, errSecret
			}
			out = append(out, x)
		}
		return out, nil
	}
	return nil, fmt.Errorf("a value of type %s cannot stand in YAML", v.Type().TypeName())
}

func nativeMap(v traits.Mapper) (any, error) {
	out := map[string]any{}
	for it := v.Iterator(); it.HasNext() == types.True; {
		k := it.Next()
		key, ok := k.(types.String)
		if !ok {
			return nil, fmt.Errorf("a map key of type %s cannot stand in YAML", k.Type().TypeName())
		}
		x, err := native(v.Get(k))
		if err != nil {
			return nil, err
		}
		if _, secret := x.(Secret); secret {
			return nil, errSecret
		}
		out[string(key)] = x
	}
	return out, nil
}

// FromJSON decodes JSON as expressions see it. Numbers are int64 or float64 by the Go type rt, since JSON does not tell 1.0 from 1, and
// references to sensitive values are secrets of that name; rt may be nil where no type is known.
func FromJSON(raw []byte, rt reflect.Type) (any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	return typed(v, rt), nil
}

func typed(v any, rt reflect.Type) any {
	for rt != nil && rt.Kind() == reflect.Pointer {
		rt = rt.Elem()
	}
	switch v := v.(type) {
	case json.Number:
		return number(v, rt)
	case []any:
		var elem reflect.Type
		if rt != nil && (rt.Kind() == reflect.Slice || rt.Kind() == reflect.Array) {
			elem = rt.Elem()
		}
		for i := range v {
			v[i] = typed(v[i], elem)
		}
	case map[string]any:
		if rt == reflect.TypeFor[steps.Sensitive]() {
			name, _ := v["sensitive"].(string)
			return Secret{Name: name}
		}
		for k := range v {
			v[k] = typed(v[k], elemType(rt, k))
		}
	}
	return v
}

func elemType(rt reflect.Type, key string) reflect.Type {
	switch {
	case rt == nil:
		return nil
	case rt.Kind() == reflect.Map:
		return rt.Elem()
	case rt.Kind() == reflect.Struct:
		if f, ok := jsonFields(rt)[key]; ok {
			return f.Type
		}
	}
	return nil
}

func number(n json.Number, rt reflect.Type) any {
	float := rt != nil && (rt.Kind() == reflect.Float32 || rt.Kind() == reflect.Float64)
	if !float && !strings.ContainsAny(n.String(), ".eE") {
		if i, err := n.Int64(); err == nil {
			return i
		}
	}
	f, err := n.Float64()
	if err != nil {
		return n.String()
	}
	return f
}
