package provisioneks

// Actions are the actions that the preflight asks IAM about.
func Actions() []string { return actions }

// Optional are the actions that the step can do without.
func Optional() []string { return optional }
