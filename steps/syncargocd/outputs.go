package syncargocd

// Outputs is what the step leaves for later stages.
type Outputs struct {
	Apps map[string]AppResult `json:"apps" jsonschema_description:"the Applications by name (namespace/name outside of Argo CD's), those of selections and children too"`
	URLs map[string]string    `json:"urls" jsonschema_description:"where each Application answers, by name: an Ingress or load balancer, else its Service inside the cluster; empty when it has none"`
}

// AppResult is how one Application ended.
type AppResult struct {
	Changed         bool       `json:"changed" jsonschema_description:"whether a sync was made for it"`
	Revision        string     `json:"revision" jsonschema_description:"revision that is live (of the first source)"`
	Revisions       []string   `json:"revisions" jsonschema_description:"revisions that are live, one a source"`
	Sync            string     `json:"sync" jsonschema_description:"Synced, OutOfSync or Unknown"`
	Health          string     `json:"health" jsonschema_description:"Healthy, Progressing, Degraded, Suspended, Missing or Unknown"`
	Resources       []Resource `json:"resources" jsonschema_description:"what the sync did, resource by resource; empty when none was made"`
	Hooks           []Hook     `json:"hooks" jsonschema_description:"hooks that ran"`
	Images          []string   `json:"images" jsonschema_description:"container images that it uses"`
	ImagesBefore    []string   `json:"imagesBefore" jsonschema_description:"those that it used before the sync; the same when none was made"`
	URLs            []string   `json:"urls" jsonschema_description:"addresses that Argo CD knows of it, or that were found"`
	DurationSeconds float64    `json:"durationSeconds" jsonschema_description:"how long it took"`
}

// Resource is what a sync did to one resource.
type Resource struct {
	Kind      string `json:"kind" jsonschema_description:"kind, with its group where it has one"`
	Namespace string `json:"namespace" jsonschema_description:"namespace, empty for a cluster-wide kind"`
	Name      string `json:"name" jsonschema_description:"name"`
	Action    string `json:"action" jsonschema_description:"Synced, SyncFailed, Pruned or PruneSkipped"`
	Message   string `json:"message" jsonschema_description:"what Argo CD says of it"`
}

// Hook is a hook that a sync ran.
type Hook struct {
	Kind      string `json:"kind" jsonschema_description:"kind, with its group where it has one"`
	Namespace string `json:"namespace" jsonschema_description:"namespace"`
	Name      string `json:"name" jsonschema_description:"name"`
	Hook      string `json:"hook" jsonschema_description:"PreSync, Sync, PostSync or SyncFail"`
	Phase     string `json:"phase" jsonschema_description:"Succeeded, Failed, Error or Running"`
	Message   string `json:"message" jsonschema_description:"what Argo CD says of it; of a Pod, its termination message"`
}
