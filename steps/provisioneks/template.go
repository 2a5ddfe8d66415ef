package provisioneks

import (
	"cmp"
	"context"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/owned"
	"pipectl.dev/steps/reconcile"
)

func (s *state) findTemplate(ctx context.Context, reader, name string) (*ec2types.LaunchTemplate, error) {
	all, err := s.look.templates.Get(ctx, reader)
	if err != nil {
		return nil, err
	}
	for _, t := range all {
		if n, ok := s.mine(t.Tags, kindTemplate); ok && n == name {
			return &t, nil
		}
	}
	return nil, nil
}

// launchTemplate holds what a node group cannot say itself: IMDSv2 only, an encrypted gp3 disk, tags of instances and disks.
// For an image of one's own it also says how to join the cluster, which must be there first.
func launchTemplate(sp Spec, p *groupPart, needs []string) resource {
	name := sp.Name + "/" + p.Name
	id := reconcile.ID(kindTemplate, name)
	return resource{
		Kind: kindTemplate, Name: name, Needs: needs,
		Observe: func(ctx context.Context, s *state) (status, error) {
			t, err := s.findTemplate(ctx, id, name)
			if err != nil || t == nil {
				return absent, err
			}
			p.templateID, p.templateVersion = aws.ToString(t.LaunchTemplateId), strconv.FormatInt(aws.ToInt64(t.DefaultVersionNumber), 10)
			st := status{Exists: true, Ready: true, ID: p.templateID}
			if !s.down {
				st.Drift, err = s.templateDrift(ctx, p)
			}
			return st, err
		},
		Create: func(ctx context.Context, s *state) error {
			defer s.look.templates.Changed()
			data, err := s.templateData(p)
			if err != nil {
				return err
			}
			_, err = cloud.EC2(s.aws).CreateLaunchTemplate(ctx, &ec2.CreateLaunchTemplateInput{
				LaunchTemplateName: aws.String(cloud.UniqueName(128, s.owner, sp.Name, p.Name)),
				LaunchTemplateData: data, ClientToken: s.token(kindTemplate, name),
				TagSpecifications: cloud.TagAtCreate(ec2types.ResourceTypeLaunchTemplate, s.tags(kindTemplate, name)),
			})
			if cloud.IsExists(err) {
				return nil
			}
			return err
		},
		Update: func(ctx context.Context, s *state, drift []string) error {
			defer s.look.templates.Changed()
			return s.newTemplateVersion(ctx, p, drift)
		},
		Delete: func(ctx context.Context, s *state) error { return s.deleteTemplate(ctx, p.templateID) },
	}
}

func (s *state) deleteTemplate(ctx context.Context, id string) error {
	defer s.look.templates.Changed()
	_, err := cloud.EC2(s.aws).DeleteLaunchTemplate(ctx, &ec2.DeleteLaunchTemplateInput{LaunchTemplateId: &id})
	return err
}

// disk is the device that holds images and containers: Bottlerocket keeps them apart from the system.
func (g NodeGroup) disk() string {
	switch {
	case strings.HasPrefix(g.AMIType, "BOTTLEROCKET") || g.LaunchTemplate.AMIFamily == familyBottlerocket:
		return "/dev/xvdb"
	case strings.HasPrefix(g.AMIType, "WINDOWS"):
		return "/dev/sda1"
	default:
		return "/dev/xvda"
	}
}

// hops lets pods reach the metadata service through one more network hop than the node: CSI and CNI need it.
const hops = 2

func (s *state) templateData(p *groupPart) (*ec2types.RequestLaunchTemplateData, error) {
	d := &ec2types.RequestLaunchTemplateData{
		MetadataOptions: &ec2types.LaunchTemplateInstanceMetadataOptionsRequest{
			HttpTokens: ec2types.LaunchTemplateHttpTokensStateRequired, HttpPutResponseHopLimit: aws.Int32(hops),
		},
		BlockDeviceMappings: []ec2types.LaunchTemplateBlockDeviceMappingRequest{{
			DeviceName: aws.String(p.disk()),
			Ebs: &ec2types.LaunchTemplateEbsBlockDeviceRequest{
				VolumeSize: &p.DiskSize, VolumeType: ec2types.VolumeTypeGp3, Encrypted: aws.Bool(true), DeleteOnTermination: aws.Bool(true),
			},
		}},
	}
	for kind, word := range map[ec2types.ResourceType]string{ec2types.ResourceTypeInstance: "ec2:Instance", ec2types.ResourceTypeVolume: kindVolume} {
		d.TagSpecifications = append(d.TagSpecifications, ec2types.LaunchTemplateTagSpecificationRequest{
			ResourceType: kind, Tags: cloud.EC2Tags(s.tags(word, s.name(p.Name))),
		})
	}
	if p.LaunchTemplate.ImageID != "" {
		d.ImageId = &p.LaunchTemplate.ImageID
	}
	text, _, err := s.templateUserData(p)
	if text != "" {
		d.UserData = aws.String(base64.StdEncoding.EncodeToString([]byte(text)))
	}
	return d, err
}

func (s *state) templateDrift(ctx context.Context, p *groupPart) ([]string, error) {
	o, err := cloud.EC2(s.aws).DescribeLaunchTemplateVersions(ctx, &ec2.DescribeLaunchTemplateVersionsInput{
		LaunchTemplateId: &p.templateID, Versions: []string{"$Default"},
	})
	if err != nil || len(o.LaunchTemplateVersions) == 0 || o.LaunchTemplateVersions[0].LaunchTemplateData == nil {
		if cloud.IsNotFound(err) { // made a moment ago
			return nil, nil
		}
		return nil, err
	}
	var d owned.Drift
	have := o.LaunchTemplateVersions[0].LaunchTemplateData
	if was, is := aws.ToString(have.ImageId), p.LaunchTemplate.ImageID; was != "" && is != "" {
		d.Mend("launchTemplate.imageId", was, is)
	} else { // nodes of EKS's images and nodes of one's own do not change sides
		d.Fixed("launchTemplate.imageId", was, is)
	}
	if err := s.userDataDrift(&d, have, p); err != nil {
		return nil, err
	}
	var size int32
	encrypted := false
	if len(have.BlockDeviceMappings) > 0 && !hasDevice(have.BlockDeviceMappings, p.disk()) { // each family has it elsewhere
		d.Fixed("amiType", "a family with its disk at "+aws.ToString(have.BlockDeviceMappings[0].DeviceName), cmp.Or(p.AMIType, "the default"))
		return d, nil
	}
	for _, m := range have.BlockDeviceMappings {
		if m.Ebs != nil && aws.ToString(m.DeviceName) == p.disk() {
			size, encrypted = aws.ToInt32(m.Ebs.VolumeSize), aws.ToBool(m.Ebs.Encrypted)
		}
	}
	d.Mend("diskSize", size, p.DiskSize)
	d.Mend("disk encrypted", encrypted, true)
	tokens, limit := ec2types.LaunchTemplateHttpTokensState(""), int32(0)
	if have.MetadataOptions != nil {
		tokens, limit = have.MetadataOptions.HttpTokens, aws.ToInt32(have.MetadataOptions.HttpPutResponseHopLimit)
	}
	d.Mend("metadata hop limit", limit, hops)
	d.Mend("metadata tokens", tokens, ec2types.LaunchTemplateHttpTokensStateRequired)
	return d, nil
}

func hasDevice(list []ec2types.LaunchTemplateBlockDeviceMapping, device string) bool {
	return slices.ContainsFunc(list, func(m ec2types.LaunchTemplateBlockDeviceMapping) bool { return aws.ToString(m.DeviceName) == device })
}

func (s *state) newTemplateVersion(ctx context.Context, p *groupPart, drift []string) error {
	data, err := s.templateData(p)
	if err != nil {
		return err
	}
	o, err := cloud.EC2(s.aws).CreateLaunchTemplateVersion(ctx, &ec2.CreateLaunchTemplateVersionInput{
		LaunchTemplateId: &p.templateID, LaunchTemplateData: data, ClientToken: s.token(kindTemplate, p.Name, p.templateVersion, drift),
	})
	if err != nil {
		return err
	}
	n := strconv.FormatInt(aws.ToInt64(o.LaunchTemplateVersion.VersionNumber), 10)
	_, err = cloud.EC2(s.aws).ModifyLaunchTemplate(ctx, &ec2.ModifyLaunchTemplateInput{LaunchTemplateId: &p.templateID, DefaultVersion: &n})
	return err
}
