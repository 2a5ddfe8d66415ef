package aws

import "slices"

var imageOperations = map[string]operation{"DescribeImages": reads((*Cloud).describeImages)}

// Image is one that the account may use.
type Image struct {
	ID    string
	State string // default available; "none": there is no such image
	Arch  string // x86_64 or arm64; "": it is not told
}

// SeedImage makes an image known. Of one that nobody seeded the emulator knows no architecture, and lets it be used: a rehearsal has no images
// of one's own.
func (c *Cloud) SeedImage(i Image) {
	defer c.seeding()()
	c.ec2.images[i.ID] = i
}

// describeImages finds by id only. What is asked for by ImageId and is not there is an error; by a filter it is only missing.
func (c *Cloud) describeImages(req *request) (any, error) {
	ids := list(req, "ImageId")
	for i := 1; req.form.Get("Filter."+itoa(i)+".Name") != ""; i++ {
		p := "Filter." + itoa(i)
		if name := req.form.Get(p + ".Name"); name != "image-id" {
			return nil, fail("InvalidParameterValue", "The filter '%s' is invalid", name)
		}
		ids = append(ids, list(req, p+".Value")...)
	}
	var out []node
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		i, known := c.ec2.images[id]
		if known && i.State == "none" {
			if len(list(req, "ImageId")) > 0 {
				return nil, fail("InvalidAMIID.NotFound", "The image id '[%s]' does not exist", id)
			}
			continue
		}
		if i.State == "" {
			i.State = "available"
		}
		out = append(out, c.imageNode(id, i))
	}
	return []node{items("imagesSet", out...)}, nil
}

// imageNode is an image of the account's own, on one disk.
func (c *Cloud) imageNode(id string, i Image) node {
	disk := group("", el("deviceName", "/dev/xvda"), group("ebs", el("snapshotId", "snap-0"+digits(id, 16)), el("volumeSize", 20), el("volumeType", "gp3"), el("deleteOnTermination", true)))
	return group("", el("imageId", id), el("imageState", i.State), opt("architecture", i.Arch), el("rootDeviceType", "ebs"), el("rootDeviceName", "/dev/xvda"), items("blockDeviceMapping", disk),
		el("name", "node-"+digits(id, 8)), el("description", "a node of Kubernetes"), el("imageOwnerId", c.opt.Account), el("imageLocation", c.opt.Account+"/node-"+digits(id, 8)), el("isPublic", false),
		el("creationDate", c.start.UTC().Format("2006-01-02T15:04:05.000Z")), el("imageType", "machine"), el("hypervisor", "xen"), el("virtualizationType", "hvm"), el("bootMode", "uefi-preferred"),
		items("productCodes"), tagSet(nil))
}
