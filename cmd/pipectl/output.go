package main

import (
	"bytes"
	"encoding/json"
	"fmt"

	"sigs.k8s.io/yaml"
)

// print writes v on stdout as json or yaml, with the same keys.
func (a *app) print(format string, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false) // it is read by people and jq, not by browsers
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("result: %w", err)
	}
	raw := b.Bytes()
	if format == "yaml" {
		var err error
		if raw, err = yaml.JSONToYAML(raw); err != nil {
			return fmt.Errorf("result: %w", err)
		}
	}
	_, err := a.stdout.Write(raw)
	return err
}
