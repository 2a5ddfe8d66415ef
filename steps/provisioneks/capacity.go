package provisioneks

import (
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
)

// tagShort keeps on a node group which zones it is made without, so that later runs do not take that for drift.
const tagShort = "pipectl.dev/zones-without-capacity"

// EC2 names the zone that is full, and those that are not.
var (
	fullZone   = regexp.MustCompile(`Availability Zone you requested \(([a-z0-9-]+)\)`)
	roomyZones = regexp.MustCompile(`or choosing ([a-z0-9, -]+)\.`)
)

// withoutRoom are the zones of a node group that EC2 has no instances left in. EKS fails the whole group for one such zone. None where the
// group must be in its zones, because a volume is, or where EC2 names no zone, or has room in none.
func (s *state) withoutRoom(p *groupPart, g *ekstypes.Nodegroup) []string {
	if g.Health == nil || len(p.Zones) > 0 {
		return nil
	}
	var short []string
	for _, i := range g.Health.Issues {
		text := aws.ToString(i.Message)
		if i.Code != ekstypes.NodegroupIssueCodeAsgInstanceLaunchFailures || !strings.Contains(text, "InsufficientInstanceCapacity") {
			continue
		}
		short = append(short, shortZones(text, p.zones())...)
	}
	short = sortedCopy(short)
	if len(short) == len(p.zones()) {
		return nil
	}
	return short
}

// shortZones are those of zones that an error of EC2 says are full.
func shortZones(text string, zones []string) []string {
	if m := fullZone.FindStringSubmatch(text); m != nil && slices.Contains(zones, m[1]) {
		return []string{m[1]}
	}
	m := roomyZones.FindStringSubmatch(text)
	if m == nil {
		return nil
	}
	roomy := strings.Split(m[1], ", ")
	return slices.DeleteFunc(slices.Clone(zones), func(z string) bool { return slices.Contains(roomy, z) })
}
