package treecopy

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Name is a path or name as raw bytes; its text form (JSON included) is EscapeName's.
type Name string

// MarshalText escapes the name.
func (n Name) MarshalText() ([]byte, error) { return []byte(EscapeName(string(n))), nil }

// UnmarshalText reverses MarshalText.
func (n *Name) UnmarshalText(b []byte) error {
	s, err := UnescapeName(string(b))
	*n = Name(s)
	return err
}

// EscapeName writes '%', bytes below 0x20, 0x7f and every byte that is not part of valid UTF-8 as %XX (upper-case hex). All
// else stays as it is, so ordinary names are unchanged, and UnescapeName gives back exactly the bytes.
func EscapeName(s string) string {
	if !needsEscape(s) {
		return s
	}
	return string(appendEscaped(nil, s, false))
}

func needsEscape(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c == '%' || c < 0x20 || c >= 0x7f {
			return true
		}
	}
	return false
}

// appendEscaped is EscapeName into a buffer; with spaces, ' ' is escaped as well so that the result is one field.
func appendEscaped(b []byte, s string, spaces bool) []byte {
	const digits = "0123456789ABCDEF"
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			if r, n := utf8.DecodeRuneInString(s[i:]); r != utf8.RuneError || n > 1 {
				b = append(b, s[i:i+n]...)
				i += n
				continue
			}
		}
		if c == '%' || c < 0x20 || c >= 0x7f || spaces && c == ' ' {
			b = append(b, '%', digits[c>>4], digits[c&15])
		} else {
			b = append(b, c)
		}
		i++
	}
	return b
}

// UnescapeName reverses EscapeName.
func UnescapeName(s string) (string, error) {
	if strings.IndexByte(s, '%') < 0 {
		return s, nil
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", fmt.Errorf("name %q: cut-off escape", s)
		}
		hi, lo := unhex(s[i+1]), unhex(s[i+2])
		if hi > 15 || lo > 15 {
			return "", fmt.Errorf("name %q: bad escape", s)
		}
		b = append(b, hi<<4|lo)
		i += 2
	}
	return string(b), nil
}

func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}
