package main

import (
	"strings"

	"pipectl.dev/engine"
	"pipectl.dev/results"
	"pipectl.dev/steps"
)

// openStore opens the place of results; "" is a directory beside the caller, apart for each identity.
func openStore(where string, id steps.Identity) (engine.Store, error) {
	if scheme, _, ok := strings.Cut(where, "://"); ok {
		return nil, &steps.Error{Code: "UnknownStore", Category: steps.BadInput, Message: "--results " + where + ": unknown kind of store " + scheme,
			Hints: []string{"name a directory; a run in a pod also leaves its result in the termination message"}}
	}
	if where == "" {
		where = storeDir(id)
	}
	owner := results.Owner{Pipeline: id.Pipeline, Env: id.Env}
	if id.Account != "" || id.Cluster != "" {
		owner.Identity = id.String()
	}
	return results.NewDir(where, owner), nil
}
