package main

import (
	"fmt"
	"runtime/debug"

	"pipectl.dev/steps"
)

// crash makes a panic an error of category bug, with what a bug report needs.
func crash(p any) error {
	return &steps.Error{Code: "Panic", Category: steps.Internal, Message: fmt.Sprintf("panic: %v\n%s", p, debug.Stack()),
		Hints: []string{"this is a bug in pipectl " + version + "; the same command again carries on from what exists"}}
}
