package spec

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

func scalarNode(text string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Value: text}
	n.Tag = n.ShortTag()
	return n
}

// Duration is a span of time written as 90s, 15m or 1h30m.
type Duration struct{ time.Duration }

// UnmarshalYAML accepts Go duration syntax; a bare number is refused, since its unit would be a guess.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	v, err := time.ParseDuration(n.Value)
	if err != nil || n.Kind != yaml.ScalarNode || v < 0 {
		return fmt.Errorf("expected a duration such as 90s, 15m or 1h30m, got %s", describe(n))
	}
	d.Duration = v
	return nil
}

// MarshalJSON writes the duration as it is written in YAML.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads what MarshalJSON writes.
func (d *Duration) UnmarshalJSON(raw []byte) error { return fromJSON(raw, d.UnmarshalYAML) }

func fromJSON(raw []byte, decode func(*yaml.Node) error) error {
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return err
	}
	return decode(scalarNode(text))
}

// Size is an amount of storage in bytes, written as 20Gi or 500Mi.
type Size struct{ Bytes int64 }

var units = map[string]float64{"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}

// UnmarshalYAML accepts a number with a binary unit.
func (s *Size) UnmarshalYAML(n *yaml.Node) error {
	for unit, factor := range units {
		if text, ok := strings.CutSuffix(n.Value, unit); ok {
			v, err := strconv.ParseFloat(text, 64)
			if err == nil && v >= 0 && v*factor < math.MaxInt64 {
				s.Bytes = int64(v * factor)
				return nil
			}
		}
	}
	return fmt.Errorf("expected a size such as 20Gi or 500Mi, got %s", describe(n))
}

// GiB is the size rounded up to whole GiB, the unit EBS sells.
func (s Size) GiB() int32 { return int32((s.Bytes + 1<<30 - 1) >> 30) }

// UnmarshalJSON reads what MarshalJSON writes, which is bytes where no unit fits.
func (s *Size) UnmarshalJSON(raw []byte) error {
	return fromJSON(raw, func(n *yaml.Node) error {
		if v, err := strconv.ParseInt(n.Value, 10, 64); err == nil && v >= 0 {
			s.Bytes = v
			return nil
		}
		return s.UnmarshalYAML(n)
	})
}

func (s Size) String() string {
	for _, u := range []string{"Ti", "Gi", "Mi", "Ki"} {
		if f := int64(units[u]); s.Bytes >= f && s.Bytes%f == 0 {
			return strconv.FormatInt(s.Bytes/f, 10) + u
		}
	}
	return strconv.FormatInt(s.Bytes, 10)
}

// MarshalJSON writes the size as it is written in YAML.
func (s Size) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }
