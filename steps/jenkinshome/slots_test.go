package jenkinshome

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pipectl.dev/cloud"
	emu "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
)

func TestAttachSlotsAreCountedByTheTypesLimit(t *testing.T) {
	t.Parallel()
	info := func(most int32, kind types.AttachmentLimitType, disks *types.InstanceStorageInfo) types.InstanceTypeInfo {
		return types.InstanceTypeInfo{InstanceType: "m9.large", EbsInfo: &types.EbsInfo{MaximumEbsAttachments: &most, AttachmentLimitType: kind}, InstanceStorageInfo: disks}
	}
	two := &types.InstanceStorageInfo{NvmeSupport: types.EphemeralNvmeSupportRequired, Disks: []types.DiskInfo{{Count: aws.Int32(2)}}}
	old := &types.InstanceStorageInfo{NvmeSupport: types.EphemeralNvmeSupportUnsupported, Disks: []types.DiskInfo{{Count: aws.Int32(2)}}}
	machine := types.Instance{InstanceId: aws.String("i-1"), NetworkInterfaces: make([]types.InstanceNetworkInterface, 3), BlockDeviceMappings: []types.InstanceBlockDeviceMapping{
		{DeviceName: aws.String("/dev/xvda"), Ebs: &types.EbsInstanceBlockDevice{Status: types.AttachmentStatusAttached}},
		{DeviceName: aws.String("/dev/sdf"), Ebs: &types.EbsInstanceBlockDevice{Status: types.AttachmentStatusDetaching}},
		{DeviceName: aws.String("/dev/sdg"), Ebs: &types.EbsInstanceBlockDevice{Status: types.AttachmentStatusDetached}},
		{DeviceName: aws.String("/dev/sdb")}, // an instance's own
	}}
	for name, c := range map[string]struct {
		typ  types.InstanceTypeInfo
		more int
		want string
	}{
		"volumes and interfaces":     {info(6, types.AttachmentLimitTypeShared, nil), 1, ""},
		"one less":                   {info(5, types.AttachmentLimitTypeShared, nil), 1, "instance i-1: no room for 1 more, of the 5 attachments that a m9.large takes 5 are used (2 volumes, 3 network interfaces and 0 disks of its own)"},
		"its disks count":            {info(7, types.AttachmentLimitTypeShared, two), 1, "(2 volumes, 3 network interfaces and 2 disks of its own)"},
		"those of old types do not":  {info(6, types.AttachmentLimitTypeShared, old), 1, ""},
		"two at once":                {info(6, types.AttachmentLimitTypeShared, nil), 2, "no room for 2 more, of the 6 attachments that a m9.large takes 5 are used"},
		"volumes alone":              {info(3, types.AttachmentLimitTypeDedicated, two), 1, ""},
		"volumes alone, one less":    {info(2, types.AttachmentLimitTypeDedicated, two), 1, "of the 2 attachments that a m9.large takes 2 are used (2 volumes)"},
		"a limit of unknown kind":    {info(3, "", two), 1, ""},
		"a type that names no limit": {types.InstanceTypeInfo{EbsInfo: &types.EbsInfo{}}, 1, ""},
		"nothing of EBS":             {types.InstanceTypeInfo{}, 1, ""},
	} {
		err := slotsFor(c.typ, machine, c.more)
		if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || code(err) != "NoAttachSlot" || cannotTell(err)) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	if free := freeDevices(machine); !slices.Equal(free, []string{"/dev/sdh", "/dev/sdi", "/dev/sdj", "/dev/sdk", "/dev/sdl", "/dev/sdm", "/dev/sdn", "/dev/sdo", "/dev/sdp"}) {
		t.Errorf("free: %v", free)
	}
}

// crowd attaches volumes to an instance until it takes only that many more, at names that nobody else uses, or at those that moves use.
func (s *stage) crowd(t *testing.T, instance, zone, names string, more int) {
	t.Helper()
	var on []string
	for n := range 40 {
		v := s.seed(t, zone, nil)
		device := fmt.Sprintf("/dev/xvdb%c", 'a'+n)
		if names != "" && n < len(names) {
			device = "/dev/sd" + names[n:n+1]
		} else if names != "" {
			break
		}
		_, err := cloud.EC2(s.aws).AttachVolume(t.Context(), &ec2.AttachVolumeInput{VolumeId: &v, InstanceId: &instance, Device: &device})
		if cloud.Code(err) == "AttachmentLimitExceeded" {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := settled(t.Context(), s.aws, v, func(string) {}); err != nil {
			t.Fatal(err)
		}
		on = append(on, v)
	}
	for ; more > 0; more-- {
		if err := detach(t.Context(), s.aws, on[more], instance, func(string) {}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAnInstanceThatTakesNoMoreVolumesIsRefusedBeforeAnythingIsTouched(t *testing.T) {
	for name, c := range map[string]struct {
		set   func(t *testing.T, s *stage)
		route string
		code  string
	}{
		"the old node has no slot":         {func(t *testing.T, s *stage) { s.crowd(t, s.instance, "ap-northeast-2a", "", 0) }, routeAttach, "NoAttachSlot"},
		"it has no name for a device":      {func(t *testing.T, s *stage) { s.crowd(t, s.instance, "ap-northeast-2a", "fghijklmnop", 0) }, routeAttach, "NoFreeDevice"},
		"a stream needs one on the worker": {func(t *testing.T, s *stage) { s.outside(t); s.crowd(t, s.worker, "ap-northeast-2c", "", 0) }, routeStream, "NoAttachSlot"},
		"snapshots need two":               {func(t *testing.T, s *stage) { s.apart(t); s.crowd(t, s.worker, "ap-northeast-2c", "", 1) }, routeSnapshot, "NoAttachSlot"},
		"snapshots need two names":         {func(t *testing.T, s *stage) { s.apart(t); s.crowd(t, s.worker, "ap-northeast-2c", "ghijklmnop", 0) }, routeSnapshot, "NoFreeDevice"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				c.set(t, s)
				spec, mark := s.precopySpec(), s.cloud.Mark()
				spec.Route = c.route
				step := precopyStep{s.base()}
				for what, err := range map[string]error{
					"preflight": step.Preflight(t.Context(), s.env("run-1"), spec),
					"apply":     func() error { _, err := step.Apply(t.Context(), s.env("run-1"), spec); return err }(),
				} {
					if code(err) != c.code || steps.Classify(err).Category != steps.Quota {
						t.Errorf("%s: got %v, want %s", what, err, c.code)
					}
				}
				for _, call := range s.cloud.Since(mark) {
					if call.Write {
						t.Errorf("writes %s", call.Action)
					}
				}
				s.safe(t)
			})
		})
	}
}

func TestOneFreeSlotIsEnough(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		s.crowd(t, s.instance, "ap-northeast-2a", "", 1)
		pre, err := s.precopy(t.Context())
		if err != nil || pre.Move.Route != routeAttach {
			t.Fatalf("%v, route %s", err, pre.Move.Route)
		}
		if _, err := s.migrate(t.Context(), pre.Move, "run-1"); err != nil { // the volume has the last slot
			t.Fatal(err)
		}
		s.sameHome(t)
	})
}

func TestWhoMayNotLookAtTypesMovesWithoutCountingSlots(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		s.cloud.AddFault(emu.Fault{Service: "ec2", Action: "DescribeInstanceTypes", Kind: "access-denied", Times: -1})
		env, said := s.env("run-1"), ""
		before := env.Record
		env.Record = func(e steps.Event) {
			if e.Type == steps.Checked {
				said += e.Message + "\n"
			}
			before(e)
		}
		out, err := precopyStep{s.base()}.Apply(t.Context(), env, s.precopySpec())
		if err != nil || out.Move.Route != routeAttach || s.state() != Precopied {
			t.Errorf("%v, route %s, state %s", err, out.Move.Route, s.state())
		}
		if n := strings.Count(said, "attach slots of t3.medium: cannot be read"); n != 1 {
			t.Errorf("said %d times: %s", n, said)
		}
	})
}
