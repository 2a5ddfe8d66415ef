// Package catalog lists all steps. It is the only place that knows them all, and holds no logic: one entry a step.
package catalog

import (
	"time"

	"pipectl.dev/cloud"
	"pipectl.dev/kube"
	"pipectl.dev/steps"
	"pipectl.dev/steps/applymanifests"
	"pipectl.dev/steps/attachvolume"
	"pipectl.dev/steps/bindirsa"
	"pipectl.dev/steps/datavolume"
	"pipectl.dev/steps/installaddon"
	"pipectl.dev/steps/jenkinshome"
	"pipectl.dev/steps/provisioneks"
	"pipectl.dev/steps/syncargocd"
)

// Deps is what steps need of the outside. Openers are lazy and cached, so validate and schema need no credentials.
type Deps struct {
	AWS  cloud.Opener
	Kube kube.Opener
	// MoverImage is the image of mover pods; "" leaves the choice to the step.
	MoverImage string
	// HealthyForAtMost shortens how long sync-argocd watches a healthy Application; zero does not.
	HealthyForAtMost time.Duration
}

// All lists every step, in the order in which a pipeline usually uses them.
func All(d Deps) []steps.Definition {
	return []steps.Definition{
		datavolume.New(d.AWS),
		provisioneks.New(d.AWS, d.Kube),
		bindirsa.New(d.AWS, d.Kube),
		installaddon.New(d.AWS, d.Kube),
		applymanifests.New(d.AWS, d.Kube),
		jenkinshome.NewPrecopy(d.AWS, d.Kube, jenkinshome.Options{Image: d.MoverImage}),
		jenkinshome.NewMigrate(d.AWS, d.Kube, jenkinshome.Options{Image: d.MoverImage}),
		jenkinshome.NewVerify(d.AWS, d.Kube, jenkinshome.Options{Image: d.MoverImage}),
		attachvolume.New(d.AWS, d.Kube),
		syncargocd.New(d.Kube, syncargocd.Options{HealthyForAtMost: d.HealthyForAtMost}),
	}
}
