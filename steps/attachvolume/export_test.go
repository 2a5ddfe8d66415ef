package attachvolume

import "pipectl.dev/steps"

// Actions are those that the preflight asks IAM about.
func Actions() []string { return actions }

// WantTags are what a volume has once a cluster may use it.
func WantTags(ref steps.ClusterRef) map[string]string { return wantTags(ref) }
