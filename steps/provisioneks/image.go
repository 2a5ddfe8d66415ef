package provisioneks

import (
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pipectl.dev/cloud"
)

// checkOwnImages looks at the images of one's own that node groups are to be made of: EKS takes any id, and its nodes then never start.
func (s *state) checkOwnImages(ctx context.Context, groups []NodeGroup) ([]error, error) {
	groups = slices.DeleteFunc(slices.Clone(groups), func(g NodeGroup) bool { return g.LaunchTemplate.ImageID == "" })
	if len(groups) == 0 || s.env.Unknown("nodeGroups") {
		return nil, nil
	}
	var ids []string
	for _, g := range groups {
		ids = append(ids, g.LaunchTemplate.ImageID)
	}
	// By filter and not by id: one unknown id would hide all others behind an error.
	o, err := cloud.EC2(s.aws).DescribeImages(ctx, &ec2.DescribeImagesInput{Filters: []ec2types.Filter{cloud.Filter("image-id", sortedCopy(ids)...)}, IncludeDeprecated: aws.Bool(true)})
	if err != nil {
		return nil, err
	}
	types, err := s.look.types.Get(ctx, "images")
	if err != nil {
		return nil, err
	}
	var out []error
	for _, g := range groups {
		at := fmt.Sprintf("nodeGroups[%d].launchTemplate.imageId", slices.IndexFunc(s.spec.NodeGroups, func(x NodeGroup) bool { return x.Name == g.Name }))
		i := slices.IndexFunc(o.Images, func(i ec2types.Image) bool { return aws.ToString(i.ImageId) == g.LaunchTemplate.ImageID })
		if i < 0 {
			out = append(out, precondition("NoSuchImage", fmt.Sprintf("%s: there is no image %s in %s, or it is not shared with this account", at, g.LaunchTemplate.ImageID, s.aws.Region),
				"an image has another id in every region"))
			continue
		}
		out = append(out, checkImage(at, g, o.Images[i], types)...)
	}
	s.env.Checked("images", fmt.Sprintf("%d of one's own", len(groups)), len(out) == 0)
	return out, nil
}

// checkImage holds one image against the instance types that are to run it.
func checkImage(at string, g NodeGroup, i ec2types.Image, types map[string]ec2types.InstanceTypeInfo) []error {
	var out []error
	id, arch := aws.ToString(i.ImageId), string(i.Architecture)
	if i.State != ec2types.ImageStateAvailable {
		out = append(out, precondition("ImageNotAvailable", fmt.Sprintf("%s: image %s is %s", at, id, i.State), "wait until it is available, or use another"))
	}
	for _, name := range g.InstanceTypes {
		if have := architecture(types[name]); arch != "" && have != "" && have != arch {
			out = append(out, precondition("ArchitectureMismatch", fmt.Sprintf("%s: image %s is %s, but %s is %s", at, id, arch, name, have), "use an image built for "+have+", or other instanceTypes"))
		}
	}
	return out
}
