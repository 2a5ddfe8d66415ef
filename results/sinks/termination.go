package sinks

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"pipectl.dev/engine"
)

// TerminationLimit is what Kubernetes keeps of a termination message, in bytes.
const TerminationLimit = 4096

// Termination writes the result as JSON of at most limit bytes. What is too much is left out whole, the biggest first, and the document
// then has "truncated": true; it is always valid, and always says how the run ended.
func Termination(res *engine.RunResult, limit int) ([]byte, error) {
	raw, err := json.Marshal(res)
	if err != nil {
		return nil, fmt.Errorf("termination message: %w", err)
	}
	if len(raw) <= limit {
		return raw, nil
	}
	var doc map[string]any
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, fmt.Errorf("termination message: %w", err)
	}
	doc["truncated"] = true
	for _, keep := range []func(map[string]any) []part{details, all} {
		if raw, err = shrink(doc, keep(doc), limit); err != nil || len(raw) <= limit {
			return raw, err
		}
	}
	return json.Marshal(map[string]any{ // cannot be more than some 300 bytes
		"apiVersion": res.APIVersion, "kind": res.Kind, "runId": res.RunID, "status": res.Status, "exitCode": res.Exit, "truncated": true,
	})
}

// part is something that can be left out.
type part struct {
	of   map[string]any
	key  string
	size int
}

// shrink leaves out parts, the biggest first, until the document fits.
func shrink(doc map[string]any, parts []part, limit int) ([]byte, error) {
	raw, err := json.Marshal(doc)
	slices.SortStableFunc(parts, func(a, b part) int { return cmp.Or(b.size-a.size, cmp.Compare(a.key, b.key)) })
	for size := len(raw); len(parts) > 0 && err == nil && len(raw) > limit; {
		for len(parts) > 0 && size > limit {
			p := parts[0]
			parts = parts[1:]
			delete(p.of, p.key)
			size -= p.size
		}
		raw, err = json.Marshal(doc)
		size = len(raw)
	}
	return raw, err
}

// essential fields stay as long as there is a document.
var essential = []string{"apiVersion", "kind", "verb", "pipeline", "runId", "status", "exitCode", "truncated"}

// details are what can be left out while all stages and errors are still listed.
func details(doc map[string]any) []part {
	out := parts(doc, append([]string{"stages", "errors"}, essential...))
	keeps := [][]string{{"stage", "status", "error"}, {"stage", "code", "category", "message"}}
	for i, keep := range keeps {
		items, _ := doc[[]string{"stages", "errors"}[i]].([]any)
		for _, x := range items {
			if m, ok := x.(map[string]any); ok {
				out = append(out, parts(m, keep)...)
			}
		}
	}
	return out
}

func all(doc map[string]any) []part { return parts(doc, essential) }

func parts(m map[string]any, keep []string) []part {
	var out []part
	for k, v := range m {
		raw, err := json.Marshal(v)
		if err == nil && !slices.Contains(keep, k) {
			out = append(out, part{m, k, len(raw) + len(k) + len(`"":,`)})
		}
	}
	return out
}
