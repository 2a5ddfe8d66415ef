package catalog_test

import (
	"testing"

	"pipectl.dev/steps/catalog"
	"pipectl.dev/steps/steptest"
)

func TestEveryStepIsSound(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, def := range catalog.All(catalog.Deps{}) {
		if seen[def.Name] {
			t.Errorf("step %s stands twice", def.Name)
		}
		seen[def.Name] = true
		t.Run(def.Name, func(t *testing.T) {
			t.Parallel()
			steptest.Static(t, def)
		})
	}
}
