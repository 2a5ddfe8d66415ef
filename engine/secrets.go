package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"pipectl.dev/steps"
)

// resolve reads the secrets that the given stages use. What cannot be read is an error per secret; it stays unknown.
func (x *run) resolve(ctx context.Context, stages func(*state) bool) []error {
	x.secrets = map[string]string{}
	used := map[string]bool{}
	for _, st := range x.states {
		if !stages(st) {
			continue
		}
		for _, ref := range st.stage.refs() {
			if len(ref) > 1 && ref[0] == "params" {
				used[ref[1]] = true
			}
		}
	}
	var errs []error
	for _, p := range x.p.Params {
		if !p.Secret() || !used[p.Name] {
			continue
		}
		v, err := x.secret(ctx, p)
		switch {
		case err == nil:
			x.secrets[p.Name] = v
			x.redact.Add(v)
		case p.Optional && unset(err):
			x.secrets[p.Name] = ""
		default:
			errs = append(errs, fmt.Errorf("param %s: %w", p.Name, err))
		}
	}
	return errs
}

// unset reports that a secret is not there, as opposed to not readable.
func unset(err error) bool { return steps.Classify(err).Code == "SecretNotFound" }

func (x *run) secret(ctx context.Context, p Param) (string, error) {
	missing := func(what string) error {
		return &steps.Error{Code: "SecretNotFound", Category: steps.BadInput, Message: what, Hints: []string{ways(p)}}
	}
	switch f := p.From; {
	case p.secret != "":
		return p.secret, nil
	case f == nil:
		return "", missing("has no value")
	case f.Env != "":
		if x.r.Getenv != nil {
			if v, ok := x.r.Getenv(f.Env); ok && v != "" {
				return v, nil
			}
		}
		return "", missing("environment variable " + f.Env + " is not set")
	case f.File != "":
		path := f.File
		if !filepath.IsAbs(path) {
			path = filepath.Join(x.p.Dir, path)
		}
		raw, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			return "", missing("file " + path + " does not exist")
		}
		if err != nil {
			return "", &steps.Error{Code: "SecretUnreadable", Category: steps.Precondition, Err: err}
		}
		return strings.TrimSuffix(strings.TrimSuffix(string(raw), "\n"), "\r"), nil
	case x.r.Secrets == nil:
		return "", missing("no source of secrets is connected")
	default:
		return x.r.Secrets.Resolve(ctx, *f)
	}
}
