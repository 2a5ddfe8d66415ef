package steps

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"reflect"
	"strconv"
	"strings"
)

// Sensitive is the type of an output that must not be seen, such as a generated password. In the outputs of a result it is a reference,
// {"sensitive": "NAME"}, or null where there is no value; the value itself is kept apart by the store (a file for its owner only, a
// Kubernetes Secret). Later stages pass it on, whole, to a field of type Secret. It prints and logs as "***"; only Reveal gives it away.
type Sensitive struct {
	value, name string
	kept        bool
}

// NewSensitive hides value. An empty one is no value.
func NewSensitive(value string) Sensitive { return Sensitive{value: value} }

// KeptSensitive is a value that exists and cannot be told again, for Observe: only the store may still have it.
func KeptSensitive() Sensitive { return Sensitive{kept: true} }

// Reveal returns the hidden value; "" when there is none, or when s was read from a result and only refers to it.
func (s Sensitive) Reveal() string { return s.value }

// String hides the value, and so do the next two.
func (s Sensitive) String() string { return "***" }

// GoString is for %#v.
func (s Sensitive) GoString() string { return "***" }

// LogValue is for slog.
func (s Sensitive) LogValue() slog.Value { return slog.StringValue("***") }

// Reference is how a Sensitive stands in JSON.
type Reference struct {
	Sensitive string `json:"sensitive" jsonschema:"required" jsonschema_description:"name under which the store keeps the value"`
}

// MarshalJSON writes the reference, never the value.
func (s Sensitive) MarshalJSON() ([]byte, error) {
	if s.value == "" && s.name == "" {
		return []byte("null"), nil
	}
	return json.Marshal(Reference{s.name})
}

// UnmarshalJSON reads a reference.
func (s *Sensitive) UnmarshalJSON(raw []byte) error {
	if bytes.Equal(raw, []byte("null")) {
		*s = Sensitive{}
		return nil
	}
	var r Reference
	err := json.Unmarshal(raw, &r)
	*s = Sensitive{name: r.Sensitive}
	return err
}

var sensitiveType = reflect.TypeFor[Sensitive]()

// seal names every Sensitive in v after its path ("password", "users.0.token") and gives its value to keep. v must be addressable.
func seal(v reflect.Value, path string, keep func(name, value string)) {
	below := func(key string) string { return strings.TrimPrefix(path+"."+key, ".") }
	if v.Type() == sensitiveType {
		if s, ok := v.Addr().Interface().(*Sensitive); ok && (s.value != "" || s.kept) {
			s.name = path
			if s.value != "" {
				keep(s.name, s.value)
			}
		}
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			seal(v.Elem(), path, keep)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			switch {
			case !f.IsExported() || name == "-":
			case f.Anonymous && name == "":
				seal(v.Field(i), path, keep)
			case name == "":
				seal(v.Field(i), below(f.Name), keep)
			default:
				seal(v.Field(i), below(name), keep)
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			seal(v.Index(i), below(strconv.Itoa(i)), keep)
		}
	case reflect.Map:
		for _, k := range v.MapKeys() { // a map's values are not addressable
			item := reflect.New(v.Type().Elem()).Elem()
			item.Set(v.MapIndex(k))
			seal(item, below(k.String()), keep)
			v.SetMapIndex(k, item)
		}
	}
}
