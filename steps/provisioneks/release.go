package provisioneks

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/owned"
	"pipectl.dev/steps"
	"pipectl.dev/steps/spec"
)

// latest is the release that follows the newest image of the family.
const latest = "latest"

// releaseParameter names the public parameter that tells the newest release of an image family, "" where AWS publishes none.
func releaseParameter(ami ekstypes.AMITypes, version string) string {
	arch, name := "x86_64", string(ami)
	if strings.Contains(name, "ARM_64") {
		arch = "arm64"
	}
	switch {
	case strings.HasPrefix(name, "AL2023_"):
		variant := strings.ToLower(name[strings.LastIndex(name, "_")+1:]) // standard, nvidia, neuron
		return "/aws/service/eks/optimized-ami/" + version + "/amazon-linux-2023/" + arch + "/" + variant + "/recommended/release_version"
	case strings.HasPrefix(name, "AL2_"):
		suffix := map[string]string{"AL2_x86_64_GPU": "-gpu", "AL2_ARM_64": "-arm64"}[name]
		return "/aws/service/eks/optimized-ami/" + version + "/amazon-linux-2" + suffix + "/recommended/release_version"
	case strings.HasPrefix(name, "BOTTLEROCKET_"):
		flavour := ""
		for _, f := range []string{"NVIDIA", "FIPS"} {
			if strings.Contains(name, "_"+f) {
				flavour += "-" + strings.ToLower(f)
			}
		}
		return "/aws/service/bottlerocket/aws-k8s-" + version + flavour + "/" + arch + "/latest/image_version"
	}
	return ""
}

// newestRelease asks once for each family and version of a run: what is published in its middle is for the next.
func (s *state) newestRelease(ctx context.Context, ami ekstypes.AMITypes, version string) (string, error) {
	name := releaseParameter(ami, version)
	if name == "" {
		return "", precondition("NoLatestRelease", fmt.Sprintf("releaseVersion: AWS does not publish which release of %s is the latest", ami), "name a release, or leave releaseVersion out")
	}
	if v, ok := s.releases.Load(name); ok {
		return v.(string), nil
	}
	o, err := cloud.SSM(s.aws).GetParameter(ctx, &ssm.GetParameterInput{Name: &name})
	if cloud.IsDenied(err) {
		return "", &steps.Error{Code: "NotAllowed", Category: steps.Permission, Message: "releaseVersion: latest", Err: cloud.Explain(err), Hints: []string{"allow ssm:GetParameter on " + name + ", or name a release"}}
	}
	if err != nil {
		return "", err
	}
	v := aws.ToString(o.Parameter.Value)
	s.releases.Store(name, v)
	return v, nil
}

// resolveRelease finds the release that the nodes of g are to have: what the spec says, "" where it says nothing.
func (s *state) resolveRelease(ctx context.Context, p *groupPart, g *ekstypes.Nodegroup) error {
	p.release = p.ReleaseVersion
	if p.ReleaseVersion != latest {
		return nil
	}
	var err error
	p.release, err = s.newestRelease(ctx, g.AmiType, s.targetVersion(g))
	return err
}

// targetVersion is the Kubernetes version that g has, or is to get.
func (s *state) targetVersion(g *ekstypes.Nodegroup) string {
	if v := s.versionDrift(g); v != "" {
		return v
	}
	return aws.ToString(g.Version)
}

// releaseDrift compares releases within a minor version, only where the spec asks. EKS does not go back, nor does `latest` where nodes are
// newer than what is published.
func (s *state) releaseDrift(d *owned.Drift, p *groupPart, g *ekstypes.Nodegroup) {
	have, want := aws.ToString(g.ReleaseVersion), p.release
	if want == "" || g.AmiType == ekstypes.AMITypesCustom || have == want {
		return
	}
	switch back := newer(have, want); {
	case back && p.ReleaseVersion == latest && s.versionDrift(g) == "":
	case back && s.versionDrift(g) == "", !fits(g.AmiType, want, s.targetVersion(g)):
		d.Fixed("releaseVersion", have, want)
	default:
		d.Mend("releaseVersion", have, want)
	}
}

// fits reports whether a release is one of a Kubernetes version. Bottlerocket's do not tell.
func fits(ami ekstypes.AMITypes, release, version string) bool {
	return !strings.HasPrefix(string(ami), "AL2") || strings.HasPrefix(release, version+".")
}

// newer compares the numbers of two releases one by one: 1.34.4-20261115 counts patch and day, Bottlerocket's 1.51.0-c0ffee42 its version.
func newer(a, b string) bool {
	x, y := releaseNumbers(a), releaseNumbers(b)
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return x[i] > y[i]
		}
	}
	return false
}

var dated = regexp.MustCompile(`-[0-9]{8}$`)

func releaseNumbers(release string) []int {
	head, tail, _ := strings.Cut(release, "-")
	fields := strings.Split(head, ".")
	if dated.MatchString(release) { // the day says more than the patch of Kubernetes
		fields = append(fields[:min(2, len(fields))], tail)
	}
	var out []int
	for _, f := range fields {
		n, err := strconv.Atoi(f)
		if err != nil {
			return out
		}
		out = append(out, n)
	}
	return out
}

var releasePattern = regexp.MustCompile(`^[0-9]+\.[0-9]+(\.[0-9]+)?-[0-9a-f]{8}$`)

func (g NodeGroup) checkRelease(at string, add adder) {
	switch r := g.ReleaseVersion; {
	case r == "":
	case g.LaunchTemplate.ImageID != "":
		add(spec.Join(at, "releaseVersion"), "leave it out: launchTemplate.imageId says which image", "cannot be given together with launchTemplate.imageId")
	case r != latest && !releasePattern.MatchString(r):
		add(spec.Join(at, "releaseVersion"), "", "expected latest, or a release such as 1.34.4-20261115 (Bottlerocket: 1.51.0-c0ffee42), got %q", r)
	case r == latest && strings.HasPrefix(g.AMIType, "WINDOWS"):
		add(spec.Join(at, "releaseVersion"), "name a release, or leave it out", "AWS does not publish which release of %s is the latest", g.AMIType)
	}
}
