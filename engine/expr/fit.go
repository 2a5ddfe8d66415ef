package expr

import (
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"gopkg.in/yaml.v3"

	"pipectl.dev/steps"
	"pipectl.dev/steps/spec"
)

var unmarshaler = reflect.TypeFor[yaml.Unmarshaler]()

// Fits says why a value of type t cannot be put into a YAML field of Go type rt; "" means it can.
func (ts *Types) Fits(t *Type, rt reflect.Type) string {
	return fitter{ts, map[pair]bool{}}.fits(t, rt)
}

// fitter compares two types side by side; pairs met before are not gone into again, since types may contain themselves.
type fitter struct {
	*Types
	met map[pair]bool
}

type pair struct {
	value string
	field reflect.Type
}

func (ts fitter) fits(t *Type, rt reflect.Type) string {
	for rt.Kind() == reflect.Pointer {
		rt = rt.Elem()
	}
	secret := rt == reflect.TypeFor[steps.Secret]()
	switch {
	case holdsSecret(t) && t.Kind() != types.OpaqueKind:
		return "a secret can only be passed on whole"
	case t.Kind() == types.OpaqueKind && !secret:
		return "a secret fits only a secret field, this one takes " + Describe(rt)
	case t.Kind() == types.OpaqueKind, t.Kind() == types.DynKind, t.Kind() == types.NullTypeKind:
		return ""
	case rt.Kind() == reflect.Interface || rt == reflect.TypeFor[yaml.Node]():
		return ""
	case secret || reflect.PointerTo(rt).Implements(unmarshaler):
		return unless(t.Kind() == types.StringKind, t, rt)
	}
	switch rt.Kind() {
	case reflect.String:
		return unless(t.Kind() == types.StringKind, t, rt)
	case reflect.Bool:
		return unless(t.Kind() == types.BoolKind, t, rt)
	case reflect.Float32, reflect.Float64:
		return unless(t.Kind() == types.DoubleKind || t.Kind() == types.IntKind, t, rt)
	case reflect.Slice:
		if t.Kind() != types.ListKind {
			return unless(false, t, rt)
		}
		return ts.fits(t.Parameters()[0], rt.Elem())
	case reflect.Map:
		return ts.fitsMap(t, rt)
	case reflect.Struct:
		return ts.fitsStruct(t, rt)
	default:
		return unless(t.Kind() == types.IntKind, t, rt)
	}
}

func (ts fitter) fitsMap(t *Type, rt reflect.Type) string {
	switch t.Kind() {
	case types.MapKind:
		return ts.fits(t.Parameters()[1], rt.Elem())
	case types.StructKind:
		for _, key := range slices.Sorted(maps.Keys(ts.fields[t.TypeName()])) {
			if why := ts.fits(ts.fields[t.TypeName()][key], rt.Elem()); why != "" {
				return key + ": " + why
			}
		}
		return ""
	}
	return unless(false, t, rt)
}

// fitsStruct compares by fields, not by name: the output of one step feeds the spec of another, and steps do not import each other.
func (ts fitter) fitsStruct(t *Type, rt reflect.Type) string {
	if t.Kind() == types.MapKind {
		return ""
	}
	if t.Kind() != types.StructKind {
		return unless(false, t, rt)
	}
	at := pair{t.TypeName(), rt}
	if ts.native[t.TypeName()] == rt || ts.met[at] {
		return ""
	}
	ts.met[at] = true
	have := ts.fields[t.TypeName()]
	want := map[string]spec.Field{}
	for _, f := range spec.Fields(rt) {
		want[f.Key] = f
		if _, ok := have[f.Key]; f.Required && !ok {
			return fmt.Sprintf("has no field %q, which is required", f.Key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(have)) {
		f, ok := want[key]
		if !ok {
			return fmt.Sprintf("has field %q, which %s does not take", key, rt)
		}
		if why := ts.fits(have[key], f.Type); why != "" {
			return key + ": " + why
		}
	}
	return ""
}

func holdsSecret(t *Type) bool {
	return t.Kind() == types.OpaqueKind && t.TypeName() == SecretType.TypeName() || slices.ContainsFunc(t.Parameters(), holdsSecret)
}

func unless(ok bool, t *Type, rt reflect.Type) string {
	if ok {
		return ""
	}
	return fmt.Sprintf("expected %s, got %s", Describe(rt), Name(t))
}

// Name says what an expression's type is, for people.
func Name(t *Type) string { return cel.FormatCELType(t) }

// Describe says what a Go type takes, for people.
func Describe(rt reflect.Type) string {
	for rt.Kind() == reflect.Pointer {
		rt = rt.Elem()
	}
	switch {
	case rt == reflect.TypeFor[steps.Secret]():
		return "a secret"
	case rt == reflect.TypeFor[spec.Duration]():
		return "a duration (string)"
	case rt == reflect.TypeFor[spec.Size]():
		return "a size (string)"
	}
	switch rt.Kind() {
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "bool"
	case reflect.Float32, reflect.Float64:
		return "number"
	case reflect.Slice:
		return "list of " + Describe(rt.Elem())
	case reflect.Map:
		return "map of " + Describe(rt.Elem())
	case reflect.Struct:
		return "object " + rt.String()
	case reflect.Interface:
		return "anything"
	default:
		return "int"
	}
}
