package expr

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"pipectl.dev/steps/spec"
)

// Part is a piece of a scalar: literal text, or the source of an expression.
type Part struct {
	Text string
	Expr bool
}

// Split cuts a scalar at its `${{ }}`. A literal `${{` is written `$${{`.
func Split(s string) ([]Part, error) {
	var parts []Part
	lit := ""
	for i := 0; i < len(s); {
		switch {
		case strings.HasPrefix(s[i:], "$${{"):
			lit += "${{"
			i += 4
		case strings.HasPrefix(s[i:], "${{"):
			n := end(s[i+3:])
			if n < 0 {
				return nil, errors.New("`${{` without `}}`")
			}
			if lit != "" {
				parts = append(parts, Part{Text: lit})
			}
			parts = append(parts, Part{Text: strings.TrimSpace(s[i+3 : i+3+n]), Expr: true})
			lit, i = "", i+3+n+2
		default:
			lit += s[i : i+1]
			i++
		}
	}
	if lit != "" || len(parts) == 0 {
		parts = append(parts, Part{Text: lit})
	}
	return parts, nil
}

// end finds the `}}` that closes an expression, past string literals and nested braces.
func end(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\'', '"':
			for q := s[i]; i+1 < len(s) && s[i+1] != q; i++ {
				if s[i+1] == '\\' {
					i++
				}
			}
			i++
		case '{':
			depth++
		case '}':
			if depth == 0 {
				if i+1 < len(s) && s[i+1] == '}' {
					return i
				}
				return -1
			}
			depth--
		}
	}
	return -1
}

// Has reports whether a scalar holds an expression or an escaped one.
func Has(s string) bool { return strings.Contains(s, "${{") }

func nearest[V any](name string, known map[string]V) string {
	return spec.Nearest(name, slices.Sorted(maps.Keys(known)))
}

// Text writes a value into the middle of a string; ok is false for values that have no one spelling there.
func Text(v any) (s string, ok bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), true
	}
	return "", false
}
