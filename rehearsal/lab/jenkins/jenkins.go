package jenkins

import "context"

func Main(ctx context.Context, args []string) error { <-ctx.Done(); return nil }
