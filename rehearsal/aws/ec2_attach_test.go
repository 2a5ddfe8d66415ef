package aws_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	emu "pipectl.dev/rehearsal/aws"
)

// An instance takes as many volumes as its type says, the root volume among them; a shared limit also counts network interfaces and disks
// of the instance's own.
func TestAnInstanceTakesAsManyVolumesAsItsTypeSays(t *testing.T) {
	for typ, want := range map[string]struct {
		limit   ec2types.AttachmentLimitType
		volumes int // beside the root volume
	}{
		"t3.small": {ec2types.AttachmentLimitTypeShared, 26}, "m5d.large": {ec2types.AttachmentLimitTypeShared, 25},
		"m7i.large": {ec2types.AttachmentLimitTypeDedicated, 31}, "t2.small": {ec2types.AttachmentLimitTypeDedicated, 38},
	} {
		t.Run(typ, func(t *testing.T) {
			t.Parallel()
			cloud, c := start(t, emu.Options{NoLag: true})
			i, err := cloud.SeedInstance(emu.InstanceSeed{Type: typ})
			if err != nil {
				t.Fatal(err)
			}
			told := must(c.ec2.DescribeInstanceTypes(t.Context(), &ec2.DescribeInstanceTypesInput{InstanceTypes: []ec2types.InstanceType{ec2types.InstanceType(typ)}}))(t)
			if got := told.InstanceTypes[0].EbsInfo.AttachmentLimitType; got != want.limit {
				t.Errorf("limit %s, want %s", got, want.limit)
			}
			taken := 0
			for err == nil && taken < 60 {
				v := must(cloud.SeedVolume(i.Zone, 1, nil))(t)
				in := &ec2.AttachVolumeInput{VolumeId: &v, InstanceId: &i.ID, Device: aws.String("/dev/xvdb" + string(rune('a'+taken/26)) + string(rune('a'+taken%26)))}
				if _, err = c.ec2.AttachVolume(t.Context(), in); err == nil {
					taken++
				}
			}
			if taken != want.volumes || code(t, err) != "AttachmentLimitExceeded" || !strings.Contains(err.Error(), i.ID) {
				t.Errorf("%d volumes, want %d, then %v", taken, want.volumes, err)
			}
		})
	}
}
