package syncargocd

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"pipectl.dev/steps"
)

func TestAnEntrySaysWhichApplicationsItMeans(t *testing.T) {
	for name, test := range map[string]struct {
		entry App
		says  string
	}{
		"a name":                       {entry: App{Name: "web"}},
		"labels":                       {entry: App{Selector: "team=web"}},
		"a project":                    {entry: App{Project: "web"}},
		"labels within a project":      {entry: App{Project: "web", Selector: "team=web"}},
		"an ApplicationSet":            {entry: App{ApplicationSet: "fleet"}},
		"a namespace":                  {entry: App{Namespace: "team-a"}},
		"nothing":                      {entry: App{Wave: 1}, says: "expected name, selector, project, applicationSet or namespace"},
		"two things":                   {entry: App{Name: "web", Project: "web"}, says: "expected one of name, selector and project, applicationSet"},
		"a name and how many it finds": {entry: App{Name: "web", Expect: 2}, says: "group and expect are for selections"},
	} {
		t.Run(name, func(t *testing.T) {
			sp := Spec{Cluster: steps.ClusterRef{Context: "kind"}, Apps: []App{test.entry}}
			said := ""
			for _, p := range sp.Validate() {
				said += p.Message
			}
			if diff := cmp.Diff(test.says, said); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
