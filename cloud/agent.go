package cloud

import (
	"context"

	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"pipectl.dev/steps"
)

// tellStep adds the step that makes a call to its user agent: CloudTrail shows it, and a rehearsal writes policies by it.
func tellStep(stack *middleware.Stack) error {
	return stack.Finalize.Add(middleware.FinalizeMiddlewareFunc("PipectlStep",
		func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
			if req, ok := in.Request.(*smithyhttp.Request); ok {
				if step := steps.StepOf(ctx); step != "" {
					req.Header.Set("User-Agent", req.Header.Get("User-Agent")+" md/pipectl-step#"+step)
				}
			}
			return next.HandleFinalize(ctx, in)
		}), middleware.Before)
}
