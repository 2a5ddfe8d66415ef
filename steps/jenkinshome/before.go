package jenkinshome

import (
	"context"
	"fmt"

	"pipectl.dev/cloud"
)

// movedBefore says whether a volume of this pipeline holds the home of a workload, of any where that is "", whose move is finished. A stage
// whose volume is not known yet may be about to get a copy of that one, in another zone: then nobody needs the old Jenkins, which may be long
// gone. What really is on the volume is looked at once it is there, before anything is touched.
func (m *mission) movedBefore(ctx context.Context, workload string) (bool, error) {
	all, err := m.aws.Volumes(ctx, cloud.OwnedBy(m.env.Identity.String())...)
	if err != nil {
		return false, fmt.Errorf("volumes of finished moves: %w", cloud.Explain(err))
	}
	for _, v := range all {
		tags := cloud.EC2TagMap(v.Tags)
		_, of, _ := parseSource(tags[tagSource])
		if s := State(tags[tagState]); (s == Verified || s == Finalized) && (workload == "" || workload == of) {
			return true, nil
		}
	}
	return false, nil
}
