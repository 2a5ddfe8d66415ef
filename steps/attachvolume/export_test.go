package attachvolume

// Actions are those that the preflight asks IAM about.
func Actions() []string { return actions }
