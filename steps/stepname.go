package steps

import "context"

type stepName struct{}

// withStep marks ctx as that of a step's work.
func withStep(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, stepName{}, name)
}

// StepOf is the name of the step whose work ctx belongs to; "" outside of steps. Clients tell it to the services that they call, so that
// audit logs show which step made a call.
func StepOf(ctx context.Context) string {
	name, _ := ctx.Value(stepName{}).(string)
	return name
}
