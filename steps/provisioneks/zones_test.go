package provisioneks_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps/provisioneks"
)

// Nodes go where the data is, although no node group says so.
func TestZonesThatHoldVolumesOfThePipelineComeFirst(t *testing.T) {
	const two = "{name: blog, network: {nat: none, privateSubnets: [10.0.0.0/24, 10.0.1.0/24], publicSubnets: [10.0.2.0/24, 10.0.3.0/24]}, nodeGroups: [{name: n, instanceTypes: [t3.small]%s}]}"
	type volume struct{ zone, owner, name string }
	for name, c := range map[string]struct {
		volumes []volume
		pinned  string
		want    []string
		note    string
	}{
		"without data":           {nil, "", []string{"ap-northeast-2a", "ap-northeast-2b"}, ""},
		"a data volume":          {[]volume{{"ap-northeast-2d", "", "jenkins-home"}}, "", []string{"ap-northeast-2d", "ap-northeast-2a"}, ""},
		"and a pinned group":     {[]volume{{"ap-northeast-2d", "", "jenkins-home"}}, ", zones: [ap-northeast-2c]", []string{"ap-northeast-2c", "ap-northeast-2d"}, ""},
		"somebody else's volume": {[]volume{{"ap-northeast-2d", "111122223333/ap-northeast-2/other", "jenkins-home"}}, "", []string{"ap-northeast-2a", "ap-northeast-2b"}, ""},
		"a node's disk":          {[]volume{{"ap-northeast-2d", "", "blog/n"}}, "", []string{"ap-northeast-2a", "ap-northeast-2b"}, ""},
		"more zones than subnets": {[]volume{{"ap-northeast-2c", "", "a"}, {"ap-northeast-2b", "", "b"}, {"ap-northeast-2d", "", "c"}}, "", []string{"ap-northeast-2b", "ap-northeast-2c"},
			"volumes of this pipeline are in ap-northeast-2d, where the network gets no subnet"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := cloudtest.New(t, emulator.Options{Seed: 142})
				for _, v := range c.volumes {
					if v.owner == "" {
						v.owner = w.Env().Identity.String()
					}
					if _, err := cloud.EC2(session(t, w)).CreateVolume(t.Context(), &ec2.CreateVolumeInput{AvailabilityZone: &v.zone, Size: aws.Int32(8), VolumeType: ec2types.VolumeTypeGp3,
						TagSpecifications: cloud.TagAtCreate(ec2types.ResourceTypeVolume, cloud.Tags(v.owner, "ec2:Volume", v.name))}); err != nil {
						t.Fatal(err)
					}
				}
				d, in := provisioneks.New(w.Open, nil), cloudtest.Input(t, strings.Replace(two, "%s", c.pinned, 1))
				raw, err := w.Apply(t.Context(), d, in)
				var out provisioneks.Outputs
				if err != nil || json.Unmarshal(raw, &out) != nil || !slices.Equal(out.Zones, c.want) {
					t.Fatalf("got %s, %v, want %v", raw, err, c.want)
				}
				if notes := strings.Join(w.Notes(), "\n"); (c.note == "") == strings.Contains(notes, "no node will reach") || !strings.Contains(notes, c.note) {
					t.Errorf("notes: %q, want %q", notes, c.note)
				}
			})
		})
	}
}
