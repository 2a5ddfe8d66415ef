// Package expr is the language of `${{ }}` and `when`: CEL, type-checked against Go types, evaluated over plain maps.
//
// It knows types and values, not pipelines: what `params` and `stages` are is told by its caller. It reads no file and calls nothing.
package expr

import (
	"encoding"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/google/cel-go/common/types"

	"pipectl.dev/steps"
	"pipectl.dev/steps/spec"
)

// Type is the type of an expression.
type Type = types.Type

// Types of values that no Go type stands for. SecretType supports no operation: a secret can only be passed on whole.
var (
	SecretType = types.NewOpaqueType("secret")
	StringType = types.StringType
	IntType    = types.IntType
	BoolType   = types.BoolType
	ListType   = types.NewListType(types.DynType)
	MapType    = types.NewMapType(types.StringType, types.DynType)
	AnyType    = types.DynType
)

// Types holds the object types that expressions may look into. It is CEL's type provider.
type Types struct {
	*types.Registry
	fields map[string]map[string]*Type
	native map[string]reflect.Type
}

// NewTypes returns a registry without objects.
func NewTypes() (*Types, error) {
	r, err := types.NewRegistry()
	if err != nil {
		return nil, err
	}
	return &Types{Registry: r, fields: map[string]map[string]*Type{}, native: map[string]reflect.Type{}}, nil
}

// Object declares an object type by its fields.
func (t *Types) Object(name string, fields map[string]*Type) *Type {
	t.fields[name] = fields
	return types.NewObjectType(name)
}

var (
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
	writtenAsText = []reflect.Type{reflect.TypeFor[time.Time](), reflect.TypeFor[spec.Duration](), reflect.TypeFor[spec.Size]()}
)

// Of gives the type of a Go value as its JSON reads: keys are json names, and what marshals itself is a string where we know so.
func (t *Types) Of(rt reflect.Type) *Type {
	if rt.Kind() == reflect.Pointer {
		return t.Of(rt.Elem())
	}
	switch {
	case rt == reflect.TypeFor[steps.Secret](), rt == reflect.TypeFor[steps.Sensitive]():
		return SecretType
	case slices.Contains(writtenAsText, rt):
		return types.StringType
	case rt.Implements(jsonMarshaler) || reflect.PointerTo(rt).Implements(jsonMarshaler):
		return types.DynType
	case rt.Implements(textMarshaler):
		return types.StringType
	}
	switch rt.Kind() {
	case reflect.String:
		return types.StringType
	case reflect.Bool:
		return types.BoolType
	case reflect.Float32, reflect.Float64:
		return types.DoubleType
	case reflect.Slice, reflect.Array:
		if rt.Elem().Kind() == reflect.Uint8 {
			return types.StringType // []byte is base64 in JSON
		}
		return types.NewListType(t.Of(rt.Elem()))
	case reflect.Map:
		return types.NewMapType(types.StringType, t.Of(rt.Elem()))
	case reflect.Struct:
		return t.structure(rt)
	case reflect.Interface:
		return types.DynType
	default:
		return types.IntType
	}
}

func (t *Types) structure(rt reflect.Type) *Type {
	name := rt.String() // "provisioneks.Outputs": read by people in error messages
	if known, ok := t.native[name]; ok && known != rt {
		name = rt.PkgPath() + "." + rt.Name()
	}
	if _, ok := t.fields[name]; ok {
		return types.NewObjectType(name)
	}
	t.native[name] = rt
	fields := map[string]*Type{}
	t.fields[name] = fields // before its fields: a type may contain itself
	for key, f := range jsonFields(rt) {
		fields[key] = t.Of(f.Type)
	}
	return types.NewObjectType(name)
}

// jsonFields lists exported fields by their json name; embedded structs without a name are flattened, as encoding/json does.
func jsonFields(rt reflect.Type) map[string]reflect.StructField {
	out := map[string]reflect.StructField{}
	for _, f := range reflect.VisibleFields(rt) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "-" || (f.Anonymous && name == "") {
			continue
		}
		if name == "" {
			name = f.Name
		}
		out[name] = f
	}
	return out
}

// FindStructType implements CEL's types.Provider.
func (t *Types) FindStructType(name string) (*Type, bool) {
	if _, ok := t.fields[name]; ok {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return t.Registry.FindStructType(name)
}

// FindStructFieldNames implements CEL's types.Provider.
func (t *Types) FindStructFieldNames(name string) ([]string, bool) {
	if fields, ok := t.fields[name]; ok {
		return slices.Sorted(maps.Keys(fields)), true
	}
	return t.Registry.FindStructFieldNames(name)
}

// FindStructFieldType implements CEL's types.Provider. Without getters CEL reads the field as a key of a map, which is what values are.
func (t *Types) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	if fields, ok := t.fields[name]; ok {
		ft, ok := fields[field]
		if !ok {
			return nil, false
		}
		return &types.FieldType{Type: ft}, true
	}
	return t.Registry.FindStructFieldType(name, field)
}
