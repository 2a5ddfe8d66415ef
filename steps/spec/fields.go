package spec

import (
	"reflect"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// A Field is one key of a document type, with the rules its tags carry.
type Field struct {
	Key      string
	Type     reflect.Type
	Index    []int // for reflect.Value.FieldByIndex
	Doc      string
	Required bool
	Enum     []string
	Default  string
	Pattern  string
	Minimum  *float64
	Maximum  *float64
}

// FieldList is the keys of a document type in declaration order.
type FieldList []Field

// Fields lists the keys of struct type t; inline structs are flattened, fields tagged "-" and unexported ones left out.
func Fields(t reflect.Type) FieldList {
	var out FieldList
	for _, f := range reflect.VisibleFields(t) {
		name, opts, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if !f.IsExported() || name == "-" || strings.Contains(opts, "inline") {
			continue
		}
		if name == "" {
			name = strings.ToLower(f.Name)
		}
		x := Field{Key: name, Type: f.Type, Index: f.Index, Doc: f.Tag.Get("jsonschema_description")}
		x.tag(f.Tag.Get("jsonschema"))
		out = append(out, x)
	}
	return out
}

// tag reads the rules of a jsonschema tag. A comma inside a value is escaped by a backslash, as invopop/jsonschema reads it.
func (f *Field) tag(tag string) {
	const comma = "\x00"
	for _, part := range strings.Split(strings.ReplaceAll(tag, `\,`, comma), ",") {
		k, v, _ := strings.Cut(strings.ReplaceAll(part, comma, ","), "=")
		switch k {
		case "required":
			f.Required = true
		case "enum":
			f.Enum = append(f.Enum, v)
		case "default":
			f.Default = v
		case "pattern":
			f.Pattern = v
		case "minimum":
			f.Minimum = number(v)
		case "maximum":
			f.Maximum = number(v)
		}
	}
}

func number(s string) *float64 {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		panic("spec: bad number in a jsonschema tag: " + s) // a mistake in our own source, seen by the first test
	}
	return &v
}

func (fs FieldList) byKey(key string) (Field, bool) {
	for _, f := range fs {
		if f.Key == key {
			return f, true
		}
	}
	return Field{}, false
}

// nearest proposes the key that was probably meant.
func (fs FieldList) nearest(key string) string {
	keys := make([]string, len(fs))
	for i, f := range fs {
		keys[i] = f.Key
	}
	return Nearest(key, keys)
}

// Nearest is a hint that proposes which of the known names was probably meant, or lists them.
func Nearest(name string, known []string) string {
	best, cost := "", len(name)/2+1
	for _, k := range known {
		if d := distance(strings.ToLower(name), strings.ToLower(k)); d < cost {
			best, cost = k, d
		}
	}
	switch {
	case best != "":
		return "did you mean " + strconv.Quote(best) + "?"
	case len(known) == 0:
		return "none is declared"
	default:
		return "known: " + strings.Join(known, ", ")
	}
}

// distance is the number of single-character edits, neighbours swapped included, between two short keys.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}

// applyDefaults sets fields that have a default= tag and are not given, at every depth. What is given as zero stays zero.
func applyDefaults(v reflect.Value, n *yaml.Node) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			applyDefaults(v.Elem(), n)
		}
	case reflect.Slice:
		for i := range v.Len() {
			applyDefaults(v.Index(i), child(n, strconv.Itoa(i)))
		}
	case reflect.Map:
		mapDefaults(v, n)
	case reflect.Struct:
		if reflect.PointerTo(v.Type()).Implements(unmarshaler) {
			return
		}
		for _, f := range Fields(v.Type()) {
			x, given := v.FieldByIndex(f.Index), child(n, f.Key)
			if f.Default != "" && (given == nil || given.Tag == "!!null") && x.IsZero() {
				setDefault(x, f.Default)
			}
			applyDefaults(x, given)
		}
	}
}

// mapDefaults goes through copies: values in a map cannot be set in place.
func mapDefaults(v reflect.Value, n *yaml.Node) {
	if v.Type().Elem().Kind() != reflect.Struct {
		return
	}
	for _, k := range v.MapKeys() {
		x := reflect.New(v.Type().Elem()).Elem()
		x.Set(v.MapIndex(k))
		applyDefaults(x, child(n, k.String()))
		v.SetMapIndex(k, x)
	}
}

func setDefault(v reflect.Value, text string) {
	if v.Kind() == reflect.Pointer {
		p := reflect.New(v.Type().Elem())
		setDefault(p.Elem(), text)
		v.Set(p)
		return
	}
	n := scalarNode(text)
	if err := n.Decode(v.Addr().Interface()); err != nil {
		panic("spec: bad default in a jsonschema tag: " + text) // a mistake in our own source, seen by the first test
	}
}
