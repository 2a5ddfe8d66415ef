package aws

import (
	"slices"
	"strings"
	"time"
)

// kubernetesVersion is a row of EKS' calendar.
type kubernetesVersion struct {
	name               string
	released           string
	standard, extended string // last days of support
	patch, platform    string
	dflt               bool
}

var kubernetesVersions = []kubernetesVersion{
	{"1.35", "2026-01-27", "2027-03-27", "2028-03-27", "2", "eks.6", false},
	{"1.34", "2025-10-02", "2026-12-02", "2027-12-02", "4", "eks.18", true},
	{"1.33", "2025-05-29", "2026-07-29", "2027-07-29", "8", "eks.30", false},
	{"1.32", "2025-01-23", "2026-03-23", "2027-03-23", "11", "eks.40", false},
	{"1.31", "2024-09-26", "2025-11-26", "2026-11-26", "14", "eks.55", false},
	{"1.30", "2024-05-23", "2025-07-23", "2026-07-23", "14", "eks.60", false},
	{"1.29", "2024-01-23", "2025-03-23", "2026-03-23", "15", "eks.64", false},
}

func day(s string) time.Time { t, _ := time.Parse(time.DateOnly, s); return t }

func versionNamed(name string) *kubernetesVersion {
	for i := range kubernetesVersions {
		if kubernetesVersions[i].name == name {
			return &kubernetesVersions[i]
		}
	}
	return nil
}

// status of a version on the emulated date.
func (v *kubernetesVersion) status(today time.Time) string {
	switch {
	case !today.After(day(v.standard)):
		return "STANDARD_SUPPORT"
	case !today.After(day(v.extended)):
		return "EXTENDED_SUPPORT"
	}
	return "UNSUPPORTED"
}

// firstImages is the day of the images that a Cloud begins with.
const firstImages = "20261115"

// release is the newest AMI release version of a family for v. Bottlerocket counts its own.
func (c *Cloud) release(v *kubernetesVersion, ami string) string {
	day := c.images
	if day == "" {
		day = firstImages
	}
	if strings.HasPrefix(strings.ToUpper(ami), "BOTTLEROCKET") {
		return "1." + day + ".0-0a1b2c3d"
	}
	return v.name + "." + v.patch + "-" + day
}

// PublishImages has EKS publish newer images of all families, those of a day such as 20261122.
func (c *Cloud) PublishImages(day string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.images = day
}

func (v *kubernetesVersion) minor() int {
	n := 0
	for _, d := range strings.TrimPrefix(v.name, "1.") {
		n = n*10 + int(d-'0')
	}
	return n
}

func (c *Cloud) describeClusterVersions(req *request) (any, error) {
	q := req.query
	names, status := q["clusterVersions"], strings.ToUpper(strings.ReplaceAll(q.Get("versionStatus")+q.Get("status"), "-", "_"))
	var rows []map[string]any
	for i := range kubernetesVersions {
		v := &kubernetesVersions[i]
		s := v.status(c.opt.Today)
		switch {
		case len(names) > 0 && !slices.Contains(names, v.name), status != "" && s != status, q.Get("defaultOnly") == "true" && !v.dflt,
			s == "UNSUPPORTED" && q.Get("includeAll") != "true" && status == "" && len(names) == 0:
			continue
		}
		rows = append(rows, map[string]any{"clusterVersion": v.name, "clusterType": "eks", "defaultVersion": v.dflt, "defaultPlatformVersion": v.platform,
			"kubernetesPatchVersion": v.name + "." + v.patch, "releaseDate": epoch(day(v.released)), "endOfStandardSupportDate": epoch(day(v.standard)),
			"endOfExtendedSupportDate": epoch(day(v.extended)), "versionStatus": s, "status": strings.ToLower(strings.ReplaceAll(s, "_", "-"))})
	}
	return eksPage(c, req, "clusterVersions", rows)
}

// addonRow is an add-on; its versions are made from these per Kubernetes version, newest first, the default is the second.
type addonRow struct {
	name      string
	versions  []string
	perMinor  bool // kube-proxy: the version follows Kubernetes'
	daemonSet bool // Ready without any node
	iam       bool
	sa, ns    string
}

var addonTable = []addonRow{
	{name: "aws-ebs-csi-driver", versions: []string{"v1.54.0-eksbuild.1", "v1.53.0-eksbuild.1", "v1.48.0-eksbuild.2"}, iam: true, sa: "ebs-csi-controller-sa", ns: "kube-system"},
	{name: "aws-efs-csi-driver", versions: []string{"v2.3.0-eksbuild.1", "v2.2.0-eksbuild.1"}, iam: true, sa: "efs-csi-controller-sa", ns: "kube-system"},
	{name: "vpc-cni", versions: []string{"v1.21.1-eksbuild.1", "v1.20.5-eksbuild.1"}, daemonSet: true, iam: true, sa: "aws-node", ns: "kube-system"},
	{name: "kube-proxy", versions: []string{"eksbuild.10", "eksbuild.7"}, perMinor: true, daemonSet: true, ns: "kube-system"},
	{name: "coredns", versions: []string{"v1.12.4-eksbuild.6", "v1.12.3-eksbuild.1"}, ns: "kube-system"},
	{name: "eks-pod-identity-agent", versions: []string{"v1.3.10-eksbuild.2", "v1.3.9-eksbuild.5"}, daemonSet: true, ns: "kube-system"},
	{name: "metrics-server", versions: []string{"v0.8.0-eksbuild.6", "v0.8.0-eksbuild.3"}, ns: "kube-system"},
	{name: "snapshot-controller", versions: []string{"v8.3.0-eksbuild.1"}, ns: "kube-system"},
}

func addonNamed(name string) *addonRow {
	for i := range addonTable {
		if addonTable[i].name == name {
			return &addonTable[i]
		}
	}
	return nil
}

// versionsFor lists the versions of an add-on that fit a Kubernetes version, newest first, and the default one.
func (a *addonRow) versionsFor(v *kubernetesVersion) ([]string, string) {
	out := slices.Clone(a.versions)
	if a.perMinor {
		for i, build := range out {
			out[i] = "v" + v.name + ".3-" + build
		}
	}
	return out, out[min(1, len(out)-1)]
}

func (c *Cloud) describeAddonVersions(req *request) (any, error) {
	wanted, kube := req.query.Get("addonName"), req.query.Get("kubernetesVersion")
	if kube != "" && versionNamed(kube) == nil {
		return nil, fail("InvalidParameterException", "unsupported Kubernetes version %s", kube)
	}
	var rows []map[string]any
	for i := range addonTable {
		a := &addonTable[i]
		if wanted != "" && a.name != wanted {
			continue
		}
		rows = append(rows, map[string]any{"addonName": a.name, "owner": "aws", "publisher": "eks", "type": "storage", "defaultNamespace": a.ns,
			"addonVersions": a.versionDocs(kube)})
	}
	if wanted != "" && rows == nil {
		return nil, failStatus(404, "ResourceNotFoundException", "Addon %s not found.", wanted)
	}
	return eksPage(c, req, "addons", rows)
}

func (a *addonRow) versionDocs(kube string) []map[string]any {
	fits := map[string][]map[string]any{}
	var order []string
	for i := range kubernetesVersions {
		v := &kubernetesVersions[i]
		if kube != "" && v.name != kube {
			continue
		}
		versions, dflt := a.versionsFor(v)
		for _, name := range versions {
			if fits[name] == nil {
				order = append(order, name)
			}
			fits[name] = append(fits[name], map[string]any{"clusterVersion": v.name, "defaultVersion": name == dflt, "platformVersions": []string{"*"}})
		}
	}
	var out []map[string]any
	for _, name := range order {
		out = append(out, map[string]any{"addonVersion": name, "architecture": []string{"amd64", "arm64"}, "computeTypes": []string{"ec2", "auto"},
			"compatibilities": fits[name], "requiresConfiguration": false, "requiresIamPermissions": a.iam})
	}
	return out
}

func (c *Cloud) describeAddonConfiguration(req *request) (any, error) {
	a := addonNamed(req.query.Get("addonName"))
	if a == nil {
		return nil, failStatus(404, "ResourceNotFoundException", "Addon %s not found.", req.query.Get("addonName"))
	}
	out := map[string]any{"addonName": a.name, "addonVersion": req.query.Get("addonVersion"), "configurationSchema": `{"type":"object"}`}
	if a.iam {
		out["podIdentityConfiguration"] = []map[string]any{{"serviceAccount": a.sa, "recommendedManagedPolicies": []string{}}}
	}
	return out, nil
}
