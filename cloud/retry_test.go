package cloud_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
)

// The SDK's own three attempts end a run in an account whose other controllers use up what AWS lets through.
func TestAThrottledCallIsTriedTenTimes(t *testing.T) {
	for name, c := range map[string]struct {
		kind  string
		times int
		fails bool
	}{
		"throttled nine times":    {"throttle", 9, false},
		"throttled ten times":     {"throttle", 10, true},
		"no answer nine times":    {"reset", 9, false},
		"a server's error at all": {"500", 9, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := cloudtest.New(t, emulator.Options{Seed: 84})
				w.AddFault(emulator.Fault{Service: "ec2", Action: "DescribeVpcs", Kind: c.kind, Times: c.times})
				s, err := w.Open(t.Context(), "")
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				_, err = cloud.EC2(s).DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{})
				if (err != nil) != c.fails {
					t.Errorf("got %v", err)
				}
				if took := time.Since(began); took < 20*time.Second || took > 2*time.Minute+30*time.Second {
					t.Errorf("it took %s: too hasty for a throttled account, or too patient", took)
				}
			})
		})
	}
}
