package aws

import (
	"slices"
	"strings"
	"time"
)

// amiArchitecture is the enum of AMI types with the architecture that each wants.
var amiArchitecture = map[string]string{
	"AL2_x86_64": "x86_64", "AL2_x86_64_GPU": "x86_64", "AL2_ARM_64": "arm64",
	"AL2023_x86_64_STANDARD": "x86_64", "AL2023_ARM_64_STANDARD": "arm64", "AL2023_x86_64_NEURON": "x86_64", "AL2023_x86_64_NVIDIA": "x86_64", "AL2023_ARM_64_NVIDIA": "arm64",
	"BOTTLEROCKET_x86_64": "x86_64", "BOTTLEROCKET_ARM_64": "arm64", "BOTTLEROCKET_x86_64_NVIDIA": "x86_64", "BOTTLEROCKET_ARM_64_NVIDIA": "arm64",
	"BOTTLEROCKET_x86_64_FIPS": "x86_64", "BOTTLEROCKET_ARM_64_FIPS": "arm64", "WINDOWS_CORE_2019_x86_64": "x86_64", "WINDOWS_FULL_2019_x86_64": "x86_64",
	"WINDOWS_CORE_2022_x86_64": "x86_64", "WINDOWS_FULL_2022_x86_64": "x86_64", "WINDOWS_CORE_2025_x86_64": "x86_64", "WINDOWS_FULL_2025_x86_64": "x86_64", "CUSTOM": "",
}

var taintEffects = map[string]string{"NO_SCHEDULE": "NoSchedule", "NO_EXECUTE": "NoExecute", "PREFER_NO_SCHEDULE": "PreferNoSchedule"}
var apiEffect = map[string]string{"NoSchedule": "NO_SCHEDULE", "NoExecute": "NO_EXECUTE", "PreferNoSchedule": "PREFER_NO_SCHEDULE"}

// checkNodegroup validates a request in the order that EKS does and completes the group.
func (c *Cloud) checkNodegroup(cl *cluster, g *nodegroup, b map[string]any) error {
	if _, known := amiArchitecture[g.ami]; g.ami != "" && !known {
		return fail("InvalidParameterException", "1 validation error detected: Value '%s' at 'amiType' failed to satisfy constraint: Member must satisfy enum value set: [%s]", g.ami, strings.Join(sortedKeys(amiArchitecture), ", "))
	}
	if err := c.checkTemplate(g, b); err != nil {
		return err
	}
	if g.ami == "" {
		g.ami = "AL2023_x86_64_STANDARD"
	}
	if len(g.types) == 0 {
		g.types = []string{"t3.medium"}
	}
	v := versionNamed(cl.version)
	if asked := text(b, "version"); asked != "" {
		if v = versionNamed(asked); v == nil || asked != cl.version {
			return fail("InvalidParameterException", "Requested Nodegroup version %s is not supported for cluster version %s", asked, cl.version)
		}
	}
	if strings.HasPrefix(g.ami, "AL2_") && v.minor() > 32 {
		return fail("InvalidParameterException", "AMI Type %s is only supported for kubernetes versions 1.32 or earlier", g.ami)
	}
	if err := g.checkTypes(); err != nil {
		return err
	}
	if err := c.checkGroupSubnets(cl, g); err != nil {
		return err
	}
	if err := g.scale(object(b, "scalingConfig"), true); err != nil {
		return err
	}
	if err := c.checkRole(g.role, "ec2."+c.domain(), []string{"AmazonEKSWorkerNodePolicy"}); err != nil {
		return err
	}
	if err := g.setTaints(b["taints"]); err != nil {
		return err
	}
	return c.fill(g, v, b)
}

// fill makes the parts of the description that do not change by themselves.
func (c *Cloud) fill(g *nodegroup, v *kubernetesVersion, b map[string]any) error {
	now, release := epoch(time.Now()), text(b, "releaseVersion")
	if release == "" {
		release = c.release(v, g.ami)
	} else if !strings.HasPrefix(release, v.name+".") && !strings.HasPrefix(g.ami, "BOTTLEROCKET") {
		return fail("InvalidParameterException", "Requested release version %s is not valid for kubernetes version %s.", release, v.name)
	}
	if g.ami == "CUSTOM" {
		release = g.template.params["ImageId"]
	}
	capacity := text(b, "capacityType")
	if capacity == "" {
		capacity = "ON_DEMAND"
	}
	updates := b["updateConfig"]
	if updates == nil {
		updates = map[string]any{"maxUnavailable": 1}
	}
	g.doc = map[string]any{"version": v.name, "releaseVersion": release, "createdAt": now, "modifiedAt": now, "capacityType": capacity, "updateConfig": updates}
	if lt := object(b, "launchTemplate"); lt != nil {
		g.doc["launchTemplate"] = lt
	} else {
		g.doc["diskSize"] = g.disk
	}
	if g.template.params["InstanceType"] == "" {
		g.doc["instanceTypes"] = g.types
	}
	return nil
}

// checkTemplate resolves the launch template and refuses what may not be given twice.
func (c *Cloud) checkTemplate(g *nodegroup, b map[string]any) error {
	spec := object(b, "launchTemplate")
	if spec == nil {
		if g.ami == "CUSTOM" {
			return fail("InvalidParameterException", "AMI type CUSTOM needs an image id in a launch template")
		}
		return nil
	}
	t, err := c.templateOf(text(spec, "id"), text(spec, "name"))
	if err != nil {
		return fail("InvalidParameterException", "Launch template was not found: %s%s", text(spec, "id"), text(spec, "name"))
	}
	v, err := t.version(text(spec, "version"))
	if err != nil {
		return fail("InvalidParameterException", "Could not find the specified version %s for the launch template with ID %s", text(spec, "version"), t.id)
	}
	spec["id"], spec["name"], spec["version"] = t.id, t.name, itoa(v.number)
	g.template = v
	if image := v.params["ImageId"]; image != "" {
		if g.ami != "" && g.ami != "CUSTOM" || text(b, "version") != "" || text(b, "releaseVersion") != "" {
			return fail("InvalidParameterException", "You cannot specify an AMI Type other than CUSTOM, version or release version, when specifying an image id in your launch template.")
		}
		g.ami = "CUSTOM"
	}
	switch {
	case b["diskSize"] != nil:
		return fail("InvalidParameterException", "Disk size must be specified within the launch template.")
	case b["remoteAccess"] != nil:
		return fail("InvalidParameterException", "Remote access configuration cannot be specified with a launch template.")
	case v.params["InstanceType"] != "" && len(g.types) > 0:
		return fail("InvalidParameterException", "Instance type can't be specified in both the launch template and the API request.")
	case v.params["IamInstanceProfile.Arn"]+v.params["IamInstanceProfile.Name"] != "":
		return fail("InvalidParameterException", "Launch template %s should not specify an instance profile. The noderole in your request will be used to construct an instance profile.", t.id)
	}
	if typ := v.params["InstanceType"]; typ != "" {
		g.types = []string{typ}
	}
	for i := 1; v.params["BlockDeviceMapping."+itoa(i)+".DeviceName"] != ""; i++ {
		n := 0
		for _, d := range v.params["BlockDeviceMapping."+itoa(i)+".Ebs.VolumeSize"] {
			n = n*10 + int(d-'0')
		}
		if n > 0 {
			g.disk = n
		}
	}
	return nil
}

// checkTypes: they exist and have the architecture of the AMI type.
func (g *nodegroup) checkTypes() error {
	var wrong []string
	for _, name := range g.types {
		t := typeNamed(name)
		if t == nil {
			return fail("InvalidParameterException", "The following supplied instance types do not exist: [%s]", name)
		}
		if arch := amiArchitecture[g.ami]; arch != "" && arch != t.arch {
			wrong = append(wrong, name)
		}
	}
	if wrong != nil {
		return fail("InvalidParameterException", "[%s] is not a valid instance type for requested amiType %s", strings.Join(wrong, ", "), g.ami)
	}
	return nil
}

func (c *Cloud) checkGroupSubnets(cl *cluster, g *nodegroup) error {
	if len(g.subnets) == 0 {
		return fail("InvalidParameterException", "Subnets are required")
	}
	for _, id := range g.subnets {
		sn, err := c.ec2.subnets.get(id)
		if err != nil {
			return fail("InvalidParameterException", "The subnet ID '%s' does not exist (Service: AmazonEC2; Status Code: 400; Error Code: InvalidSubnetID.NotFound)", id)
		}
		if sn.vpc != cl.vpc {
			return fail("InvalidParameterException", "Subnet %s is not in the VPC %s of the cluster", id, cl.vpc)
		}
	}
	return nil
}

// scale takes sizes from a request; fresh groups have defaults.
func (g *nodegroup) scale(s map[string]any, fresh bool) error {
	lo, n, hi := g.min, g.desired, g.max
	if fresh {
		lo, n, hi = 1, 2, 2
	}
	lo, hi = integer(s, "minSize", lo), integer(s, "maxSize", hi)
	n = integer(s, "desiredSize", n)
	switch {
	case hi < 1:
		return fail("InvalidParameterException", "Maximum size must be at least 1")
	case n > hi:
		return fail("InvalidParameterException", "desired capacity %d can't be greater than max size %d", n, hi)
	case lo > n:
		return fail("InvalidParameterException", "Minimum capacity %d can't be greater than desired size %d", lo, n)
	}
	g.min, g.desired, g.max = lo, n, hi
	return nil
}

func (g *nodegroup) setTaints(v any) error {
	rows, _ := v.([]any)
	for _, row := range rows {
		m, _ := row.(map[string]any)
		effect := taintEffects[text(m, "effect")]
		if effect == "" {
			return fail("InvalidParameterException", "Taint effect %q is not one of NO_SCHEDULE, NO_EXECUTE, PREFER_NO_SCHEDULE", text(m, "effect"))
		}
		g.taints = slices.DeleteFunc(g.taints, func(t Taint) bool { return t.Key == text(m, "key") && t.Effect == effect })
		g.taints = append(g.taints, Taint{Key: text(m, "key"), Value: text(m, "value"), Effect: effect})
	}
	return nil
}
