package rehearsal

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"pipectl.dev/cloud"
	"pipectl.dev/rehearsal/aws"
)

// inlineLimit is the most characters of the inline policies of one role; a managed policy ends at 6144.
const inlineLimit = 10240

// policyOf allows just what principal's calls needed, step by step.
func (l *ledger) policyOf(principal string) aws.Policy {
	l.mu.Lock()
	defer l.mu.Unlock()
	mine := slices.DeleteFunc(slices.Clone(l.calls), func(c aws.Call) bool { return c.Principal != principal })
	return aws.LeastPolicy(mine, cloud.TagIdentity)
}

// writePolicy writes the policy of the client's calls to where --iam-policy says.
func (w *world) writePolicy() error {
	if w.opts.IAMPolicy == "" {
		return nil
	}
	p := w.ledger.policyOf(w.access.Principal)
	text, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	if short, err := json.Marshal(p); err == nil && len(short) > inlineLimit {
		fmt.Fprintf(w.opts.Stderr, "the policy has %d characters without spaces; one role takes %d inline: split it by Sid\n", len(short), inlineLimit)
	}
	text = append(text, '\n')
	if w.opts.IAMPolicy == "-" {
		_, err = w.opts.Stdout.Write(text)
		return err
	}
	return os.WriteFile(w.opts.IAMPolicy, text, 0o644)
}
